"""The pipeline's stages in order; each is one page that ends in `STAGE = Stage(…)` (`permix.stage`)."""

import importlib
from typing import TYPE_CHECKING, Any

from permix.errors import BadInput, nearest

if TYPE_CHECKING:
    from permix.stage import Stage

NAMES = (
    *("personas", "base", "teachers", "rewrites", "mixtures", "sft", "grpo", "sweep"),
    *("questions", "personagym", "preference", "apps", "cases", "tables"),
)
COMMANDS = ("export", "import")
"""Stages that a command of the same name runs; no recipe contains them."""
_PAGES = {"import": "imported"}  # where the page's name differs from the stage's


def get(name: str) -> "Stage[Any]":
    """Return the stage `name`; BadInput suggests the nearest."""
    if name not in NAMES + COMMANDS:
        raise BadInput(f"There is no stage {name!r}: {nearest(name, NAMES)}")
    stage: Stage[Any] = importlib.import_module(f"permix.stages.{_PAGES.get(name, name)}").STAGE
    return stage
