"""What the numbers show: the paper's statements on base, RLVR and PerMix-RLVR, each examined on our own sweeps.

A statement is about one difference, second minus first, with a 95 % interval and, for measures of a single seed that
are tested, a p-value. It counts as shown by RULE; what is not shown is reported as it is, with the same numbers.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Row = Mapping[str, Any]
Interval = tuple[float | None, float | None]
Bounds = tuple[float, float]
Verdict = Literal["shown", "not shown", "the opposite"]

FIDELITY = {"voice": "Wilson of each", "recovery": "bootstrap of each"}
"""Shares of answers in character, and whose intervals a difference of one seed is made of."""
KEPT = 0.05
"""Fidelity is kept when it falls by less than this; fixed before any result was seen."""
LEVEL = 0.05
RULE = (
    f"shown: the whole 95 % interval lies on the claimed side (is kept: above -{KEPT:g}), and so does the difference, "
    f"and p <= {LEVEL:g} where there is one; the opposite: the same on the other side; not shown: all else."
)
_T = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)
"""97.5 % points of Student's t for 1, 2, … degrees of freedom; the last one is used for more (it is the wider)."""


@dataclass(frozen=True)
class Claim:
    """`measure` of variant `second` lies above (rises), below (falls) or not much below (is kept) that of `first`."""

    measure: str
    first: str
    second: str
    says: Literal["rises", "falls", "is kept"]


CLAIMS = (
    *(
        Claim(measure, a, b, "rises")
        for measure in ("worst", "mean", "pss")
        for a, b in (("base", "rlvr"), ("rlvr", "permix-rlvr"))
    ),
    Claim("pss", "base", "permix-rlvr", "rises"),
    *(Claim(measure, "base", "rlvr", "falls") for measure in FIDELITY),
    *(Claim(measure, "rlvr", "permix-rlvr", "rises") for measure in FIDELITY),
    *(Claim(measure, "base", "permix-rlvr", "is kept") for measure in FIDELITY),
)


def t_interval(values: Sequence[float], bounds: Bounds | None = None) -> tuple[float, float | None, float | None]:
    """Mean and 95 % t interval; no interval for a single value.

    The interval is cut at `bounds`, where values have some: nothing beyond them is possible, and what was cut off shows
    only that so few values are not normal. Its coverage stays as it was.
    """
    mean = math.fsum(values) / len(values)
    if len(values) < 2:
        return mean, None, None
    variance = math.fsum((v - mean) ** 2 for v in values) / (len(values) - 1)
    half = _T[min(len(values) - 1, len(_T)) - 1] * math.sqrt(variance / len(values))
    lowest, highest = bounds or (-math.inf, math.inf)
    return mean, max(mean - half, lowest), min(mean + half, highest)


def examine(
    claim: Claim, rows: Sequence[Row], paired: Callable[[Row, Row], Mapping[str, float]]
) -> dict[str, Any] | None:
    """The claim on one benchmark, from the rows of all sweeps there; None where a variant or measure is missing.

    `paired(first, second)` is measures.pss.paired on both sweeps' rows: bootstrap and exchange test over the problems
    they share. It is used for a single seed, and its p-value must then be at most LEVEL too. With several seeds the
    interval is Student's t over the seeds' differences, widened by the uncertainty of `first` where that was measured
    only once (the base model is not trained).
    """
    first, second = (
        [r for r in rows if r["variant"] == name and r.get(claim.measure) is not None]
        for name in (claim.first, claim.second)
    )
    by_seed = {r["seed"]: r for r in first}
    pairs = [
        (by_seed.get(r["seed"], first[0]), r) for r in second if first and (r["seed"] in by_seed or len(first) == 1)
    ]
    if not pairs:
        return None
    differences, p = [b[claim.measure] - a[claim.measure] for a, b in pairs], None
    if len(pairs) > 1:
        mean, low, high = t_interval(differences)
        interval, how = (low, high), f"t over {len(pairs)} seeds"
        if len(first) == 1:
            interval = _apart(mean, first[0], claim.measure, interval)
    elif claim.measure in FIDELITY:
        mean, how = differences[0], FIDELITY[claim.measure]
        interval = _apart(mean, pairs[0][0], claim.measure, _shifted(pairs[0][1], claim.measure, mean))
    else:
        found = paired(*pairs[0])
        mean, how = differences[0], "bootstrap over problems"
        interval = _finite(found[f"{claim.measure}_low"]), _finite(found[f"{claim.measure}_high"])
        p = _finite(found[f"{claim.measure}_p_value"])
    return {
        "benchmark": pairs[0][1]["benchmark"],
        "measure": claim.measure,
        "first": claim.first,
        "second": claim.second,
        "says": claim.says,
        "seeds": [b["seed"] for _, b in pairs],
        "differences": differences,
        "difference": mean,
        "low": interval[0],
        "high": interval[1],
        "interval": how,
        "p_value": p,
        "verdict": _verdict(claim, pairs[0][0][claim.measure], mean, interval, p),
    }


def _apart(difference: float, first: Row, measure: str, interval: Interval) -> Interval:
    """The interval of a difference when `first` has its own, independent one (MOVER: Zou and Donner 2008)."""
    low, high, ends = interval[0], interval[1], (first[f"{measure}_low"], first[f"{measure}_high"])
    if low is None or high is None or ends[0] is None or ends[1] is None:
        return None, None
    below, above = ends[1] - first[measure], first[measure] - ends[0]
    return difference - math.hypot(difference - low, below), difference + math.hypot(high - difference, above)


def _shifted(row: Row, measure: str, difference: float) -> Interval:
    low, high = row[f"{measure}_low"], row[f"{measure}_high"]
    if low is None or high is None:
        return None, None
    return difference + low - row[measure], difference + high - row[measure]


def _verdict(claim: Claim, first: float, difference: float, interval: Interval, p: float | None) -> Verdict:
    low, high = interval
    if low is None or high is None or (p is not None and p > LEVEL):
        return "not shown"
    if claim.says == "is kept" and first == 0:
        return "not shown"  # nothing was there that could be kept
    if claim.says == "falls":
        low, high, difference = -high, -low, -difference
    bar = -KEPT if claim.says == "is kept" else 0.0
    if min(low, difference) > bar:
        return "shown"
    return "the opposite" if max(high, difference) < bar else "not shown"


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
