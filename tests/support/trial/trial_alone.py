"""The same stage, with every core for itself."""

from permix.stages.trial import CARD, VERSION, Config, group, inputs, run, target  # type: ignore[import-not-found]

ALL_CORES = True
__all__ = ["ALL_CORES", "CARD", "VERSION", "Config", "group", "inputs", "run", "target"]
