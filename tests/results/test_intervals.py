"""Student's t intervals, means and numbers that are not defined."""

import math
import random

import pytest

from permix.results.measures.intervals import _t, defined, mean, t_interval
from tests.support.cases import cases


def test_t_interval_of_three_seeds() -> None:
    middle, low, high = t_interval([0.1, 0.2, 0.3])
    assert middle == pytest.approx(0.2)
    assert low == pytest.approx(0.2 - 4.303 * 0.1 / math.sqrt(3))
    assert high == pytest.approx(0.4 - low)


@pytest.mark.parametrize(("degrees", "quantile"), cases(__file__)["quantiles"])
def test_the_quantile_is_that_of_the_tables(degrees: int, quantile: float) -> None:
    assert _t(degrees) == pytest.approx(quantile, abs=5e-4 if degrees <= 10 else 2e-5)


def test_the_interval_of_16_personas_has_15_degrees_of_freedom() -> None:
    _, low, high = t_interval([0.0, 1.0] * 8)
    assert low is not None
    assert high is not None
    assert high - low == pytest.approx(2 * 2.13145 * math.sqrt(4 / 15 / 16), abs=1e-4)


def test_a_single_value_has_no_interval() -> None:
    assert t_interval([0.5]) == (0.5, None, None)


def test_t_interval_covers_the_mean_in_95_of_100() -> None:
    draw = random.Random(0)
    covered = 0
    for _ in range(2000):
        _, low, high = t_interval([draw.gauss(0, 1) for _ in range(3)])
        covered += low is not None and high is not None and low <= 0 <= high
    assert 0.935 < covered / 2000 < 0.965


def test_a_t_interval_of_shares_is_cut_at_0_and_1() -> None:
    middle, low, high = t_interval([0.9, 1.0], (0, 1))
    assert low == t_interval([0.9, 1.0])[1]
    assert low is not None
    assert low < 0.9 < middle < 1 == high
    assert t_interval([0.0, 0.1], (0, 1))[1] == 0


@pytest.mark.parametrize(("values", "expected"), [([1, 2], 1.5), ([1, None], None), ([], None)])
def test_a_mean_needs_every_value(values: list[float | None], expected: float | None) -> None:
    assert mean(values) == expected


@pytest.mark.parametrize(("value", "expected"), [(math.nan, None), (math.inf, None), (0.5, 0.5), ("x", "x")])
def test_numbers_that_json_does_not_have_are_none(value: object, expected: object) -> None:
    assert defined(value) == expected
