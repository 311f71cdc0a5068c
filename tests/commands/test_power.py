"""`permix power` and the simulation behind it, on sizes that take a moment."""

import pytest

from permix.commands import power as command
from permix.errors import BadInput
from permix.results.measures import power
from permix.results.measures.power import Size
from tests.support.cases import cases


@pytest.mark.parametrize(("accuracy", "problems", "floor"), [(0.86, 1319, 0.983), (0.47, 500, 0.93), (0.04, 30, 0.21)])
def test_the_noise_floor_is_that_of_the_papers_sizes(accuracy: float, problems: int, floor: float) -> None:
    """A simulation of independent answers gives .983, .928 and .21."""
    assert power.resolution(Size(problems, 5), accuracy, 0, trials=30).noise_floor == pytest.approx(floor, abs=0.02)


def test_more_problems_show_smaller_differences() -> None:
    few, many = (power.resolution(Size(n, 2), trials=30) for n in (30, 300))
    for measure in power.MEASURES:
        assert getattr(many, measure) < 0.6 * getattr(few, measure)
    assert many.noise_floor > few.noise_floor


def test_a_large_difference_is_found_and_a_tiny_one_is_not() -> None:
    size = Size(300, 2, 4)
    large, tiny = (power.power(size, 0.5, 0.4, by, trials=20) for by in (0.19, 0.001))
    assert all(large[measure] > 0.8 for measure in power.MEASURES)
    assert all(tiny[measure] < 0.2 for measure in power.MEASURES)


def test_the_visible_difference_is_the_one_found_four_times_in_five() -> None:
    size = Size(60, 2, 4)
    visible = power.resolution(size, 0.5, 0.2, trials=200).mean
    assert 0.6 < power.power(size, 0.5, 0.3, visible, trials=60)["mean"] < 0.95


def test_the_second_variant_differs_as_asked() -> None:
    first = power.levels(0.5, 0.2, 5)
    pss, worst, mean = (power.changed(measure, 0.05, 0.5, 0.2, 5) for measure in power.MEASURES)
    assert pss.min() / pss.max() == pytest.approx(first.min() / first.max() + 0.05)
    assert pss.mean() == pytest.approx(0.5)
    assert (worst.min(), worst.mean()) == (pytest.approx(first.min() + 0.05), pytest.approx(0.5))
    assert mean - first == pytest.approx(0.05)


def test_a_sweep_too_small_for_its_purpose_says_so() -> None:
    warning = power.too_small(Size(20, 1))
    assert warning
    assert warning.startswith("20 problems x 1 runs x 16 personas detect differences of PSS above about")
    assert "`permix power`" in warning
    assert power.too_small(Size(500, 5)) is None


def test_the_table_has_a_line_for_each_size(capsys: pytest.CaptureFixture[str]) -> None:
    command.power(problems=[20], runs=[1, 2], personas=4, spread=0.3, difference=0.2)
    output = capsys.readouterr().out
    assert "PSS of the first 0.538" in output
    assert "pss: none of these for power 0.8" in output
    assert "worst: cannot rise by 0.2 at the same mean with a spread of 0.3" in output
    sizes = [line.split() for line in output.splitlines() if line.lstrip().startswith("20 ")]
    assert [(size[:2], size[-2]) for size in sizes] == [(["20", "1"], "-"), (["20", "2"], "-")]


def test_the_same_seed_gives_the_same_numbers() -> None:
    size = Size(20, 1, 4)
    assert power.resolution(size, seed=1) == power.resolution(size, seed=1) != power.resolution(size)
    assert power.power(size, 0.5, 0.3, 0.1, trials=5) == power.power(size, 0.5, 0.3, 0.1, trials=5)


@pytest.mark.parametrize(("given", "sentence"), cases(__file__)["refusals"])
def test_sizes_that_make_no_sense_are_refused(given: dict[str, float], sentence: str) -> None:
    with pytest.raises(BadInput, match=sentence):
        command.power(**given)  # type: ignore[arg-type]
