"""The chain's stages, in order; each is one module in the shape that `permix.stage` describes."""

import importlib
from types import ModuleType

from permix.errors import BadInput, nearest

NAMES = (
    *("personas", "base", "teachers", "rewrites", "mixtures", "sft", "grpo", "sweep"),
    *("questions", "personagym", "preference", "apps", "cases", "tables"),
)

OTHERS = ("export",)  # in a stage's shape, but asked for by a command of its own and by no recipe


def table_of(stage: str) -> str:
    """The recipe's table for a stage: its name, but [toy] for base, since `base` names the model itself."""
    return "toy" if stage == "base" else stage


def get(name: str) -> ModuleType:
    """The module of the stage `name`."""
    if name not in NAMES + OTHERS:
        raise BadInput(f"There is no stage {name!r}: {nearest(name, NAMES)}")
    return importlib.import_module(f"permix.stages.{name}")
