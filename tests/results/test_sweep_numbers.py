"""The numbers of a sweep and of two sweeps compared, from small tables."""

import json
import random
from typing import Any

import pytest

from permix.errors import BadInput
from permix.results.measures import sweep_numbers
from permix.results.reporting import tabular
from permix.toy import style

Row = dict[str, Any]
CATEGORIES = {"none": "Control", "chef": "Arts", "poet": "Arts", "chemist": "Science"}


def table(levels: dict[str, float], problems: int = 30, runs: int = 3) -> list[Row]:
    return [
        {"persona": key, "category": CATEGORIES[key], "problem_id": f"q{q}", "run": run, "completion": ""}
        | {"score": right, "extracted": "7" if right else "1", "status": "correct" if right else "wrong"}
        | {"finish": "length" if run == 0 else "stop", "tokens_out": 10 * (run + 1)}
        for key, level in levels.items()
        for q in range(problems)
        for run in range(runs)
        for right in [float(random.Random(f"{key} {q} {run}").random() < level)]
    ]


LEVELS = {"none": 0.9, "chef": 0.3, "poet": 0.5, "chemist": 0.7}


def test_every_persona_has_interval_repetitions_length_and_truncation() -> None:
    numbers = sweep_numbers.of_rows(table(LEVELS), draws=50, toy=False)
    assert list(numbers["by_persona"]) == list(numbers["accuracy"]) == list(LEVELS)
    for key, own in numbers["by_persona"].items():
        assert own["low"] < numbers["accuracy"][key] < own["high"]
        assert own["pass"] >= numbers["accuracy"][key]
        assert 0 <= own["majority"] <= own["pass"]
        assert (own["tokens_out"], own["truncated"]) == (20, pytest.approx(1 / 3, abs=1e-6))


def test_categories_have_their_mean_and_the_control_stands_outside() -> None:
    numbers = sweep_numbers.of_rows(table(LEVELS), draws=50, toy=False)
    assert (list(numbers["by_category"]), numbers["personas"]) == (["Arts", "Science"], 3)
    arts = numbers["by_category"]["Arts"]
    assert arts["accuracy"] == pytest.approx((numbers["accuracy"]["chef"] + numbers["accuracy"]["poet"]) / 2)
    assert arts["low"] < arts["accuracy"] < arts["high"]


def test_pass_and_majority_are_means_over_the_personas() -> None:
    numbers = sweep_numbers.of_rows(table(LEVELS), draws=50, toy=False)
    assert list(numbers["pass_at"]) == ["1", "2", "3"]
    assert numbers["pass_at"]["1"] == pytest.approx(numbers["pss"]["mean"])
    people = [own for key, own in numbers["by_persona"].items() if key != "none"]
    assert numbers["pass_at"]["3"] == pytest.approx(sum(own["pass"] for own in people) / 3, abs=1e-5)
    assert numbers["majority"] == pytest.approx(sum(own["majority"] for own in people) / 3, abs=1e-5)
    assert json.loads(json.dumps(numbers, allow_nan=False)) == numbers


def test_what_was_not_recorded_is_none() -> None:
    rows = [row | dict.fromkeys(("extracted", "finish", "tokens_out", "category")) for row in table(LEVELS)]
    numbers = sweep_numbers.of_rows(rows, draws=50, toy=False)
    assert numbers["majority"] is numbers["tokens_out"] is numbers["truncated"] is None
    assert (numbers["by_category"], numbers["by_persona"]["chef"]["majority"]) == ({}, None)


def spoken(runs: int, copies: bool) -> list[Row]:
    """Two personas' answers, 7 of 10 in character: each for itself, or all of a problem alike."""
    openers = {key: style.voice_of(key).openers[0] for key in ("poetic", "chef")}
    return [
        {"persona": key, "problem_id": f"q{q}", "run": run, "completion": openers[key] if chance < 0.7 else ""}
        for key in openers
        for q in range(40)
        for run in range(runs)
        for chance in [random.Random(f"{q}" if copies else f"{q} {key} {run}").random()]
    ]


def test_copies_of_answers_leave_the_interval_of_voice_as_wide_as_it_was() -> None:
    once, copied, anew = (sweep_numbers.voice_interval(spoken(*kind)) for kind in ((1, True), (8, True), (8, False)))
    assert copied == pytest.approx(once)
    assert copied[0] is not None
    assert 0 < copied[0] < 0.7
    assert anew[0] is not None
    assert anew[0] > copied[0]
    assert anew[1] < copied[1]
    controls = [row | {"persona": "none"} for row in spoken(1, True)]
    assert sweep_numbers.voice_interval([*spoken(1, True), *controls]) == once
    assert sweep_numbers.voice_interval([row for row in spoken(8, True) if row["problem_id"] == "q0"]) == (None, None)


def test_two_sweeps_are_compared_row_by_row() -> None:
    before, after = table(LEVELS), table(LEVELS | {"chef": 0.6, "none": 0.5})
    differences = sweep_numbers.compare(before, list(reversed(after)), draws=200)
    assert list(differences) == ["pss", "worst", "best", "mean", "pss_corrected", "none"]
    first, second = (sweep_numbers.of_rows(rows, draws=2, toy=False) for rows in (before, after))
    for measure in ("pss", "worst", "best", "mean"):
        assert differences[measure]["difference"] == pytest.approx(second["pss"][measure] - first["pss"][measure])
    assert differences["none"]["difference"] == pytest.approx(
        second["accuracy"]["none"] - first["accuracy"]["none"], abs=1e-5
    )
    assert differences["worst"]["low"] > 0 > differences["none"]["high"]
    assert differences["worst"]["p_value"] < 0.05


def test_sweeps_of_other_conditions_are_not_compared() -> None:
    with pytest.raises(BadInput, match="Only one of the two sweeps has run 2 of q0 under 'chef': compare"):
        sweep_numbers.compare(table(LEVELS), table(LEVELS, runs=2), draws=2)


def test_a_sweep_as_text_names_its_size_its_noise_and_every_persona() -> None:
    numbers = sweep_numbers.of_rows(table(LEVELS), draws=50, toy=False)
    text = tabular.of_sweep({"benchmarks": {"quiz": numbers}})
    assert text.startswith("quiz: 30 problems x 3 runs x 3 personas\npss ")
    assert "personas without effect: " in text
    assert ", none 0." in text
    assert "means nothing" not in text
    assert [line.split()[0] for line in text.splitlines()[3:]] == sorted(
        LEVELS, key=lambda key: numbers["accuracy"][key]
    )
    nothing = sweep_numbers.of_rows(table(dict.fromkeys(LEVELS, 0.0)), draws=50, toy=False)
    assert "worst reaches 0, so PSS means nothing" in tabular.of_sweep({"benchmarks": {"quiz": nothing}})
