"""Means and their intervals, with None for a number that is not defined."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

Bounds = tuple[float, float]
_T = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)
"""97.5 % points of Student's t for 1, 2, … degrees of freedom."""
_Z = 1.959963984540054
"""The 97.5 % point of the normal distribution."""


def mean(values: Iterable[float | None]) -> float | None:
    """Return the mean; None if a value is missing or there are no values."""
    numbers = list(values)
    known = [value for value in numbers if value is not None]
    return math.fsum(known) / len(known) if known and len(known) == len(numbers) else None


def t_interval(values: Sequence[float], bounds: Bounds | None = None) -> tuple[float, float | None, float | None]:
    """Return the mean and its 95 % t interval (none for one value), cut at `bounds`, which keeps its coverage."""
    middle = math.fsum(values) / len(values)
    if len(values) < 2:
        return middle, None, None
    variance = math.fsum((value - middle) ** 2 for value in values) / (len(values) - 1)
    half = _t(len(values) - 1) * math.sqrt(variance / len(values))
    lowest, highest = bounds or (-math.inf, math.inf)
    return middle, max(middle - half, lowest), min(middle + half, highest)


def _t(degrees: int) -> float:
    """Return Student's 97.5 % point, beyond the table by Abramowitz and Stegun's 26.7.5 (error below 0.00002)."""
    if degrees <= len(_T):
        return _T[degrees - 1]
    z, square = _Z, _Z**2
    terms = (
        (square + 1) / 4,
        ((5 * square + 16) * square + 3) / 96,
        (((3 * square + 19) * square + 17) * square - 15) / 384,
        ((((79 * square + 776) * square + 1482) * square - 1920) * square - 945) / 92160,
    )
    return z * (1 + sum(term / float(degrees) ** power for power, term in enumerate(terms, 1)))


def defined(value: Any) -> Any:
    """Return `value`, or None for nan and infinity, which JSON does not have."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
