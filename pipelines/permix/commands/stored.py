"""What a published sweep holds, for the commands that compute from its rows."""

from typing import TYPE_CHECKING, Any

from permix.errors import BadInput

if TYPE_CHECKING:
    from permix.hub import Hub

Tables = dict[str, list[dict[str, Any]]]
"""The rows of a sweep by benchmark."""


def tables(artifact: str, place: "Hub") -> Tables:
    """The rows of a sweep, an imported one too; BadInput where the artifact is none."""
    from permix import chain
    from permix.stages import sweep

    head = chain.find(artifact, place)
    assert head.record is not None
    if "summary" not in head.record["facts"]:
        raise BadInput(f"{head.repo} was made by stage {head.record['stage']}: give a sweep.")
    folder = place.fetch(head)
    return {name: sweep.read(folder, name) for name in head.record["facts"]["summary"]["benchmarks"]}
