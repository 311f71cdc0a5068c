"""How numbers and their intervals are written in tables."""

import math
from collections.abc import Mapping
from typing import Any


def decimal(value: float | None, sign: str = "") -> str:
    """Return `value` with three decimals, "-" if it is not defined; with sign "+" positive numbers have theirs."""
    return "-" if value is None or not math.isfinite(value) else f"{value:{sign}.3f}"


def ranged(value: float | None, low: float | None, high: float | None) -> str:
    """Return `value [low, high]`, without brackets if there is no interval."""
    has_interval = value is not None and low is not None and high is not None
    return decimal(value) + (f" [{low:.2f}, {high:.2f}]" if has_interval else "")


def difference_interval(difference: Mapping[str, Any], missing: str = "-") -> str:
    """Return `+low to +high` of a difference, `missing` if it has no interval."""
    low, high = difference["low"], difference["high"]
    return missing if low is None or high is None else f"{low:+.3f} to {high:+.3f}"
