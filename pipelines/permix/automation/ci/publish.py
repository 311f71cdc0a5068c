"""A release: the package of the right version, then personas, metric and Spaces, then the Collection of everything.

On the Hub one short-lived token is for one repository, so that each is published by a job of its own.
"""

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from permix import __version__
from permix.errors import BadInput, PermixError, nearest
from permix.pipeline import plan, recipes
from permix.pipeline.plan import Step

if TYPE_CHECKING:
    from permix.publishing.hub import Artifact, Hub

RELEASED = ("personas", "apps")


def organisation() -> str:
    """Whose repositories these are, from the environment."""
    org = os.environ.get("PERMIX_ORG", "")
    if not org:
        raise BadInput("PERMIX_ORG is not set: it should name the organisation of the Hub to publish to.")
    return org


def steps(org: str) -> dict[str, Step]:
    """{repository: step} of what a release publishes."""
    made = plan.build(recipes.load("toy", [f'org="{org}"']))
    return {step.target: step for step in made if step.stage.name in RELEASED}


def check_version(event: Mapping[str, Any]) -> str:
    """The package's version; BadInput where a release of another name is published."""
    tag = (event.get("release") or {}).get("tag_name")
    if tag not in (None, f"v{__version__}"):
        raise BadInput(f"The release is called {tag!r}, and the package is {__version__}: call it v{__version__}.")
    return __version__


def artifact(resource: str, hub: "Hub") -> "Artifact":
    """Publish one repository with its next semver tag, unless it holds just that already."""
    from permix.pipeline import run

    known = steps(organisation())
    if resource not in known:
        raise BadInput(f"A release does not publish {resource!r}: {nearest(resource, known)}")
    if not hub.token:
        raise PermixError(
            f"There is no token for {resource}: make this workflow its trusted publisher, or set HF_TOKEN in the "
            "environment of the job."
        )
    step = known[resource]
    return run.run_step(step.stage, step.config, hub)
