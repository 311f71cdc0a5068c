"""The persona stability score, loaded from its one source: the published metric spaces/pss/pss_core.py.

`settings` are `seed` and `draws`. Every function raises BadInput for numbers that cannot be measured.
"""

import functools
import importlib.util
import sys
from collections.abc import Sequence
from typing import Any

from permix import files
from permix.errors import BadInput


@functools.cache
def _core() -> Any:
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


def _call(name: str, *arguments: Any, **settings: int) -> dict[str, Any]:
    try:
        return dict(getattr(_core(), name)(*arguments, **settings))
    except ValueError as error:
        raise BadInput(str(error)) from None


def compute(
    scores: Sequence[float],
    personas: Sequence[Any],
    problems: Sequence[Any] | None = None,
    runs: Sequence[Any] | None = None,
    **settings: int,
) -> dict[str, Any]:
    """Return PSS, worst, best, mean and the other numbers of spaces/pss/README.md, from one score in [0, 1] per row.

    Raise BadInput for a missing score, a single persona, or personas on different problems.
    """
    return _call("compute", scores, personas, problems, runs, **settings)


def paired(
    first: Sequence[float], second: Sequence[float], personas: Sequence[Any], problems: Sequence[Any], **settings: int
) -> dict[str, float]:
    """Return second minus first in pss, worst, best, mean, pss_corrected, with keys `k_low`, `k_high`, `k_p_value`."""
    return _call("paired", first, second, personas, problems, **settings)


def difference(
    first: Sequence[float], second: Sequence[float], problems: Sequence[Any], **settings: int
) -> dict[str, float]:
    """Return second minus first in the mean score under one system prompt: mean, mean_low, mean_high, mean_p_value."""
    return _call("difference", first, second, problems, **settings)


def shares(scores: Sequence[float], groups: Sequence[Any], problems: Sequence[Any]) -> dict[str, dict[str, float]]:
    """Return the mean score per group of rows with its 95 % interval: {group: {"accuracy", "low", "high"}}."""
    return _call("shares", scores, groups, problems)


def pass_at(scores: Sequence[float], groups: Sequence[Any], problems: Sequence[Any], k: int) -> dict[str, float]:
    """Return {group: pass@k}, the probability that at least one of k answers to a problem is right."""
    return _call("pass_at", scores, groups, problems, k)


def majority(
    scores: Sequence[float], groups: Sequence[Any], problems: Sequence[Any], answers: Sequence[str | None]
) -> dict[str, float]:
    """Return {group: maj@k}, the accuracy of the most frequent answer to each problem."""
    return _call("majority", scores, groups, problems, answers)


def paired_cells(*arguments: Any) -> dict[str, float]:
    """Return the numbers of `paired` from the numbers of right answers [personas, problems] of both variants."""
    return _call("paired_cells", *arguments)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values corrected for their number (Holm 1979)."""
    return list(_core().holm(p_values))
