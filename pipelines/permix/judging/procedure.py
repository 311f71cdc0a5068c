"""The two PersonaGym procedures: permix's own prompts with structured replies, and upstream's procedure."""

from pathlib import Path

from permix.judging.own import Own
from permix.judging.upstream import Upstream

Procedure = Own | Upstream


def of(folder: Path | None) -> Procedure:
    """Return upstream's procedure with the prompts in `folder`, without a folder permix's own."""
    return Own() if folder is None else Upstream(folder)
