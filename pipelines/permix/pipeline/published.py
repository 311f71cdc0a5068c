"""Find published artifacts by name, and read the rows of sweeps."""

from typing import Any

from permix.errors import BadInput, PermixError, closest
from permix.publishing.hub import Artifact, Hub, RepositoryState, split
from permix.stages.shared import sweep_rows

SWEEP = "permix-sweep-"
"""A part of the names of all sweeps of recipes."""
Tables = dict[str, list[dict[str, Any]]]
"""The rows of a sweep by benchmark."""


def repository(repo: str, hub: Hub, like: str = "") -> RepositoryState:
    """Return a repository; BadInput names the nearest one, first of those with `like` in their names."""
    state = hub.state(repo)
    if state is None:
        advice = suggestion(repo, hub, like) or "`permix plan` names those of a recipe."
        raise BadInput(f"There is no repository {repo} on {hub.endpoint}: {advice}")
    return state


def artifact(repo: str, hub: Hub, like: str = "") -> Artifact:
    """Return an artifact of permix; BadInput as `repository` raises it."""
    state = repository(repo, hub, like)
    if not isinstance(state, Artifact):
        raise PermixError(f"{repo} has no run.json: it was not made by permix.")
    return state


def suggestion(repo: str, hub: Hub, like: str = "") -> str:
    """Suggest the repository that `repo`, perhaps without kind or owner, means, those with `like` first, or ""."""
    name = split(repo)[1]
    owner, _, last = name.rpartition("/")
    if not (owner or hub.embedded):
        return ""
    repositories = {split(listed)[1]: listed for listed in hub.repositories("" if hub.embedded else owner)}
    for names in ([known for known in repositories if like in known], repositories):
        ending = [known for known in names if last and known.endswith(last)]
        if close := closest(name, ending or names, 0 if ending else 0.7):
            return f"did you mean {repositories[close]}?"
    return ""


def sweep(repo: str, hub: Hub) -> Artifact:
    """Return a sweep, imported or not; BadInput for an artifact of another stage."""
    published = artifact(repo, hub, SWEEP)
    stage = published.record["stage"]
    if stage not in ("sweep", "import"):
        nearest = suggestion(repo, hub, SWEEP)
        advice = nearest if SWEEP in nearest else "give a sweep."
        raise BadInput(f"{published.repo} was made by stage {stage}; it is not a sweep: {advice}")
    return published


def tables(repo: str, hub: Hub) -> Tables:
    """Return the rows of a sweep; BadInput for an artifact of another stage."""
    return rows(sweep(repo, hub), hub)


def rows(published: Artifact, hub: Hub) -> Tables:
    """Return the rows of a sweep."""
    folder = hub.fetch(published)
    return {name: sweep_rows.read(folder, name) for name in published.record["facts"]["summary"]["benchmarks"]}
