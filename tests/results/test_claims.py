"""permix.results.claims.claims: intervals, and what counts as shown."""

import math
import random
import statistics
from typing import Any

import pytest

from permix.results.claims.claims import Claim, examine
from tests.support.cases import cases

RISES = Claim("worst", "base", "rlvr", "rises")


def row(name: str, seed: int, value: float | None, half: float = 0.05, measure: str = "worst") -> dict[str, Any]:
    low, high = (None, None) if value is None else (value - half, value + half)
    columns = {"variant": name, "seed": seed, "benchmark": "b", measure: value}
    return columns | {f"{measure}_low": low, f"{measure}_high": high}


def paired(low: float, high: float, p: float = 0.001) -> Any:
    return lambda first, second: {"worst_low": low, "worst_high": high, "worst_p_value": p}


def never(first: Any, second: Any) -> Any:
    raise AssertionError("the bootstrap is for single seeds")


def examined(claim: Claim, rows: list[dict[str, Any]], by: Any = never) -> dict[str, Any]:
    result = examine(claim, rows, by)
    assert result is not None
    return result


def test_a_single_seed_uses_the_paired_bootstrap() -> None:
    rows = [row("base", 0, 0.4), row("rlvr", 0, 0.6)]
    result = examined(RISES, rows, paired(0.1, 0.3))
    assert (result["difference"], result["low"], result["high"]) == (pytest.approx(0.2), 0.1, 0.3)
    assert (result["interval"], result["verdict"]) == ("bootstrap over problems", "shown")


@pytest.mark.parametrize(("after", "low", "high", "p", "verdict"), cases(__file__)["single seeds"])
def test_a_single_seed_is_judged_by_difference_interval_and_p(
    after: float, low: float, high: float, p: float, verdict: str
) -> None:
    rows = [row("base", 0, 0.5), row("rlvr", 0, after)]
    assert examined(RISES, rows, paired(low, high, p))["verdict"] == verdict


def test_an_undefined_interval_is_not_shown() -> None:
    rows = [row("base", 0, 0.4), row("rlvr", 0, 0.6)]
    result = examined(RISES, rows, paired(math.nan, math.nan))
    assert (result["low"], result["high"], result["verdict"]) == (None, None, "not shown")


def test_voice_of_a_single_problem_has_no_interval_and_shows_nothing() -> None:
    rows = [row("base", 0, 0.9, measure="voice"), row("rlvr", 0, 0.5, measure="voice")]
    single = [line | {"voice_low": None, "voice_high": None} for line in rows]
    result = examined(Claim("voice", "base", "rlvr", "falls"), single)
    assert (result["low"], result["high"], result["verdict"]) == (None, None, "not shown")


def test_seeds_are_paired_by_number() -> None:
    claim = Claim("worst", "rlvr", "permix-rlvr", "rises")
    rows = [row("rlvr", s, v) for s, v in ((0, 0.3), (1, 0.5), (2, 0.4))]
    rows += [row("permix-rlvr", s, v) for s, v in ((2, 0.61), (0, 0.5), (1, 0.7))]
    result = examined(claim, rows)
    assert dict(zip(result["seeds"], result["differences"], strict=True)) == pytest.approx({2: 0.21, 0: 0.2, 1: 0.2})
    assert (result["interval"], result["verdict"]) == ("t over 3 seeds", "shown")
    assert result["high"] - result["low"] < 0.04  # the seeds' own spread cancels out


def test_the_uncertainty_of_a_base_measured_once_is_not_forgotten() -> None:
    seeds = [row("rlvr", s, v) for s, v in ((0, 0.60), (1, 0.61), (2, 0.59))]
    sure, unsure = (examined(RISES, [row("base", 0, 0.5, half), *seeds]) for half in (0.0, 0.15))
    assert sure["verdict"] == "shown"
    assert unsure["verdict"] == "not shown"
    assert unsure["low"] == pytest.approx(0.1 - math.hypot(0.1 - sure["low"], 0.15))


@pytest.mark.parametrize(("after", "says", "verdict"), cases(__file__)["voice"])
def test_voice(after: float, says: Any, verdict: str) -> None:
    rows = [row("base", 0, 0.9, 0.02, "voice"), row("rlvr", 0, after, 0.02, "voice")]
    assert examined(Claim("voice", "base", "rlvr", says), rows)["verdict"] == verdict


def test_a_measure_or_variant_that_is_missing_makes_no_claim() -> None:
    voiceless = [row("base", 0, None, measure="voice"), row("rlvr", 0, None, measure="voice")]
    assert examine(Claim("voice", "base", "rlvr", "falls"), voiceless, never) is None
    assert examine(RISES, [row("base", 0, 0.4)], never) is None


def test_a_true_null_is_rarely_shown_over_seeds() -> None:
    """No effect, three seeds: a rise is claimed in about 2.5 of 100 experiments."""
    draw = random.Random(1)
    claim = Claim("worst", "rlvr", "permix-rlvr", "rises")
    shown = []
    for _ in range(1500):
        rows = [row(name, s, 0.5 + draw.gauss(0, 0.03)) for name in ("rlvr", "permix-rlvr") for s in range(3)]
        shown.append(examined(claim, rows)["verdict"] == "shown")
    assert 0.012 < statistics.mean(shown) < 0.04
