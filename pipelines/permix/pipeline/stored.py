"""What a published sweep holds, for the commands that compute from its rows."""

from typing import TYPE_CHECKING, Any

from permix.errors import BadInput

if TYPE_CHECKING:
    from permix.publishing.hub import Head, Hub

SWEEP = "permix-sweep-"
"""What sweeps that a recipe made have in their names."""
Tables = dict[str, list[dict[str, Any]]]
"""The rows of a sweep by benchmark."""


def sweep(artifact: str, place: "Hub") -> "Head":
    """The head of a sweep, an imported one too; BadInput where the artifact is none."""
    from permix.pipeline import plan

    head = plan.find(artifact, place, SWEEP)
    assert head.record is not None
    if head.record["stage"] not in ("sweep", "import"):
        near = plan.meant(artifact, place, SWEEP)
        advice = near if SWEEP in near else "give a sweep."
        raise BadInput(f"{head.repo} was made by stage {head.record['stage']}, it is no sweep: {advice}")
    return head


def tables(artifact: str, place: "Hub") -> Tables:
    """The rows of a sweep, an imported one too; BadInput where the artifact is none."""
    return rows(sweep(artifact, place), place)


def rows(head: "Head", place: "Hub") -> Tables:
    """The rows of a sweep whose head is known."""
    from permix.stages.shared import sweep_rows

    assert head.record is not None
    folder = place.fetch(head)
    return {name: sweep_rows.read(folder, name) for name in head.record["facts"]["summary"]["benchmarks"]}
