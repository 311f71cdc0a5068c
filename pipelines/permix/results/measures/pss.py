"""The persona stability score. Its one source is the published metric, spaces/pss/pss_core.py, loaded from there."""

import importlib.util
import sys
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

from permix import files
from permix.errors import BadInput


def _load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("permix._pss_core", files.SPACES / "pss" / "pss_core.py")
    if spec is None or spec.loader is None:
        raise ImportError("spaces/pss/pss_core.py is missing: install permix again.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    before, sys.dont_write_bytecode = sys.dont_write_bytecode, True  # the folder is published as it is
    try:
        spec.loader.exec_module(module)
    finally:
        sys.dont_write_bytecode = before
    return module


def _asked(function: Callable[..., Any], *given: Any) -> Any:
    try:
        return function(*given)
    except ValueError as error:
        raise BadInput(str(error)) from None


_core = _load()
DRAWS: int = _core.DRAWS


def compute(
    scores: Sequence[float],
    personas: Sequence[Any],
    problems: Sequence[Any] | None = None,
    runs: Sequence[Any] | None = None,
    seed: int = 0,
    draws: int = DRAWS,
) -> dict[str, Any]:
    """PSS, worst, best, mean and the rest of spaces/pss/README.md, from one score in [0, 1] per row.

    BadInput where the metric refuses: a missing score, one persona, personas on unequal problems.
    """
    found: dict[str, Any] = _asked(_core.compute, scores, personas, problems, runs, seed, draws)
    return found


def paired(
    first: Sequence[float],
    second: Sequence[float],
    personas: Sequence[Any],
    problems: Sequence[Any],
    seed: int = 0,
    draws: int = DRAWS,
) -> dict[str, float]:
    """Second minus first in pss, worst, best, mean and pss_corrected, with intervals and p-values (keys `k_low`, …)."""
    found: dict[str, float] = _asked(_core.paired, first, second, personas, problems, seed, draws)
    return found


def difference(
    first: Sequence[float], second: Sequence[float], problems: Sequence[Any], seed: int = 0, draws: int = DRAWS
) -> dict[str, float]:
    """Second minus first in the mean score under one system prompt: keys mean, mean_low, mean_high, mean_p_value."""
    found: dict[str, float] = _asked(_core.difference, first, second, problems, seed, draws)
    return found


def shares(scores: Sequence[float], groups: Sequence[Any], problems: Sequence[Any]) -> dict[str, dict[str, float]]:
    """The mean score of each group of rows with its 95 % interval: {group: {"accuracy", "low", "high"}}."""
    found: dict[str, dict[str, float]] = _asked(_core.shares, scores, groups, problems)
    return found


def pass_at(scores: Sequence[float], groups: Sequence[Any], problems: Sequence[Any], k: int) -> dict[str, float]:
    """{group: pass@k}: the chance that one of k answers to a problem is right."""
    found: dict[str, float] = _asked(_core.pass_at, scores, groups, problems, k)
    return found


def majority(
    scores: Sequence[float], groups: Sequence[Any], problems: Sequence[Any], answers: Sequence[str | None]
) -> dict[str, float]:
    """{group: maj@k}: accuracy of the answer given most often to each problem."""
    found: dict[str, float] = _asked(_core.majority, scores, groups, problems, answers)
    return found


holm: Callable[[Sequence[float]], list[float]] = _core.holm
paired_cells: Callable[..., dict[str, float]] = _core.paired_cells
