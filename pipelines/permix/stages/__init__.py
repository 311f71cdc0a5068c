"""The chain's stages, in order; each is one module in the shape that `permix.stage` describes."""

import importlib
from types import ModuleType

from permix.errors import BadInput, nearest

NAMES = ("personas", "base", "mixtures", "grpo", "sweep", "apps", "tables")


def get(name: str) -> ModuleType:
    """The module of the stage `name`."""
    if name not in NAMES:
        raise BadInput(f"There is no stage {name!r}: {nearest(name, NAMES)}")
    return importlib.import_module(f"permix.stages.{name}")
