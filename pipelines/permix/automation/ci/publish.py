"""A release: personas, metric and Spaces, each in its own job (a trusted publisher's token is for one repository)."""

import os
from collections.abc import Mapping
from typing import Any

from permix import __version__
from permix.errors import BadInput, PermixError, nearest
from permix.pipeline import plan, recipes, run
from permix.publishing.hub import Artifact, Hub

RELEASED = ("personas", "apps")


def organisation() -> str:
    """Return the organisation to publish to, from the environment."""
    org = os.environ.get("PERMIX_ORG", "")
    if not org:
        raise BadInput("PERMIX_ORG is not set: it should name the organisation of the Hub to publish to.")
    return org


def steps(org: str) -> dict[str, plan.Step]:
    """Return {repository: step} of everything that a release publishes."""
    every = plan.build(recipes.load("toy", [f'org="{org}"']))
    return {step.target: step for step in every if step.stage.name in RELEASED}


def check_version(event: Mapping[str, Any]) -> str:
    """Return the package's version; BadInput where the release has another name."""
    tag = (event.get("release") or {}).get("tag_name")
    if tag not in (None, f"v{__version__}"):
        raise BadInput(f"The release is called {tag!r}, and the package is {__version__}: call it v{__version__}.")
    return __version__


def publish(resource: str, hub: Hub) -> Artifact:
    """Publish one repository with its next semver tag, unless the Hub has the same content already."""
    released = steps(organisation())
    if resource not in released:
        raise BadInput(f"A release does not publish {resource!r}: {nearest(resource, released)}")
    if not hub.token:
        raise PermixError(
            f"There is no token for {resource}: make this workflow its trusted publisher, or set HF_TOKEN in the "
            "environment of the job."
        )
    step = released[resource]
    return run.run_step(step.stage, step.config, hub)
