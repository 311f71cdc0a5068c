"""The paper's claims on base, RLVR and PerMix-RLVR, each tested on our own sweeps.

A claim is about one difference, second minus first, with a 95 % interval; measures of a single seed have a p-value too.
RULE gives the verdict. Every claim is reported with its numbers, whatever its verdict.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from permix.results.measures.intervals import defined, t_interval

Row = Mapping[str, Any]
Interval = tuple[float | None, float | None]
Verdict = Literal["shown", "not shown", "the opposite"]

FIDELITY = {"voice": "Wilson of each", "recovery": "bootstrap of each"}
"""{share of answers in character: how the interval of a difference between single seeds is computed}."""
TOLERANCE = 0.05
"""Fidelity is kept if it falls by less than this. Fixed before any result was seen."""
LEVEL = 0.05
RULE = (
    f"Shown: difference and 95 % interval lie on the claimed side (is kept: above -{TOLERANCE:g}), and p <= {LEVEL:g} "
    "if there is a p-value. The opposite: the same on the other side. Not shown: every other case."
)


@dataclass(frozen=True)
class Claim:
    """The measure of variant `second` is above (rises), below (falls) or not much below (is kept) that of `first`."""

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


def examine(
    claim: Claim, rows: Sequence[Row], paired: Callable[[Row, Row], Mapping[str, float]]
) -> dict[str, Any] | None:
    """Test a claim on one benchmark, from the rows of all its sweeps; None if a variant or a measure is missing.

    `paired(first, second)` is measures.pss.paired on the rows of two sweeps: a bootstrap and an exchange test over
    their problems, used for a single seed. With several seeds the interval is Student's t over the differences of the
    seeds. If `first` was measured only once (the base model is not trained), its uncertainty widens that interval.
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
        interval, method = (low, high), f"t over {len(pairs)} seeds"
        if len(first) == 1:
            interval = _apart(mean, first[0], claim.measure, interval)
    elif claim.measure in FIDELITY:
        mean, method = differences[0], FIDELITY[claim.measure]
        interval = _apart(mean, pairs[0][0], claim.measure, _shifted(pairs[0][1], claim.measure, mean))
    else:
        tested = paired(*pairs[0])
        mean, method = differences[0], "bootstrap over problems"
        low, high, p = (defined(tested[f"{claim.measure}_{name}"]) for name in ("low", "high", "p_value"))
        interval = low, high
    return {
        "benchmark": pairs[0][1]["benchmark"],
        **vars(claim),
        "seeds": [b["seed"] for _, b in pairs],
        "differences": differences,
        "difference": mean,
        **dict(zip(("low", "high"), interval, strict=True)),
        **{"interval": method, "p_value": p},
        "verdict": _verdict(claim, pairs[0][0][claim.measure], mean, interval, p),
    }


def _apart(difference: float, first: Row, measure: str, interval: Interval) -> Interval:
    """Return the interval of a difference if `first` has an independent one (MOVER: Zou and Donner 2008)."""
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
        return "not shown"  # there is no fidelity to keep
    if claim.says == "falls":
        low, high, difference = -high, -low, -difference
    bar = -TOLERANCE if claim.says == "is kept" else 0.0
    if min(low, difference) > bar:
        return "shown"
    return "the opposite" if max(high, difference) < bar else "not shown"
