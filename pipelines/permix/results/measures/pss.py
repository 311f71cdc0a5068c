"""The persona stability score, loaded from its one source: the published metric spaces/pss/pss_core.py."""

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
    before, sys.dont_write_bytecode = sys.dont_write_bytecode, True  # a cache file would be published
    try:
        spec.loader.exec_module(module)
    finally:
        sys.dont_write_bytecode = before
    return module


def _call(function: Callable[..., Any], *arguments: Any) -> Any:
    try:
        return function(*arguments)
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
    """Return PSS, worst, best, mean and the other numbers of spaces/pss/README.md, from one score in [0, 1] per row.

    Raise BadInput for a missing score, a single persona, or personas on different problems.
    """
    return dict(_call(_core.compute, scores, personas, problems, runs, seed, draws))


def paired(
    first: Sequence[float],
    second: Sequence[float],
    personas: Sequence[Any],
    problems: Sequence[Any],
    seed: int = 0,
    draws: int = DRAWS,
) -> dict[str, float]:
    """Return second minus first in pss, worst, best, mean, pss_corrected, with keys `k_low`, `k_high`, `k_p_value`."""
    return dict(_call(_core.paired, first, second, personas, problems, seed, draws))


def difference(
    first: Sequence[float], second: Sequence[float], problems: Sequence[Any], seed: int = 0, draws: int = DRAWS
) -> dict[str, float]:
    """Return second minus first in the mean score under one system prompt: mean, mean_low, mean_high, mean_p_value."""
    return dict(_call(_core.difference, first, second, problems, seed, draws))


def shares(scores: Sequence[float], groups: Sequence[Any], problems: Sequence[Any]) -> dict[str, dict[str, float]]:
    """Return the mean score per group of rows with its 95 % interval: {group: {"accuracy", "low", "high"}}."""
    return dict(_call(_core.shares, scores, groups, problems))


def pass_at(scores: Sequence[float], groups: Sequence[Any], problems: Sequence[Any], k: int) -> dict[str, float]:
    """Return {group: pass@k}, the probability that at least one of k answers to a problem is right."""
    return dict(_call(_core.pass_at, scores, groups, problems, k))


def majority(
    scores: Sequence[float], groups: Sequence[Any], problems: Sequence[Any], answers: Sequence[str | None]
) -> dict[str, float]:
    """Return {group: maj@k}, the accuracy of the most frequent answer to each problem."""
    return dict(_call(_core.majority, scores, groups, problems, answers))


holm: Callable[[Sequence[float]], list[float]] = _core.holm
paired_cells: Callable[..., dict[str, float]] = _core.paired_cells
