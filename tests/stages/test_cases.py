"""Stage cases on sweeps with made-up scores."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from permix.errors import BadInput
from permix.results.measures import sweeps
from permix.stages import cases, sweep
from permix.stages.shared import sweep_rows
from tests.support import records

RUNS = [("base", 0), ("rlvr", 0), ("permix-rlvr", 0)]
(CONFIG,) = cases.configs(records.toy_recipe())


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folders = records.sweeps(tmp_path_factory.mktemp("sweeps"), RUNS, problems=8)
    return {name: folders[f"{name}-seed0"] for name, _ in RUNS}


@pytest.fixture(scope="module")
def rows(inputs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    out = tmp_path_factory.mktemp("out")
    facts = cases.run(CONFIG, inputs, out, context=None)  # type: ignore[arg-type]
    chosen = sweeps.cases(out)
    assert (facts["rows"], facts["cases"]) == (len(chosen), 12)
    assert len(facts["first"]) == 6
    return chosen


def test_it_reads_the_first_seed_of_every_variant() -> None:
    plan = records.toy_recipe()
    assert CONFIG.sweeps == tuple(RUNS)
    assert cases.target(CONFIG) == "datasets/permix/permix-cases"
    assert set(cases.inputs(CONFIG).values()) == {sweep.target(c) for c in sweep.configs(plan) if not c.seed}


def test_one_variant_or_no_benchmark_has_no_cases() -> None:
    plan = records.toy_recipe()
    assert cases.configs(dataclasses.replace(plan, variants=("base",))) == []
    assert cases.configs(dataclasses.replace(plan, benchmarks=())) == []


def test_every_case_shows_every_variant_on_one_question(rows: list[dict[str, Any]]) -> None:
    for number in range(1, 13):
        case = [row for row in rows if row["case"] == number]
        assert [row["variant"] for row in case] == [name for name, _ in RUNS]
        assert len({(row["problem_id"], row["persona"], row["question"], row["gold"]) for row in case}) == 1
        assert case[0]["question"]
        assert case[0]["persona"] not in ("none", "helpful")


def test_the_first_case_is_the_first_gain_of_permix_rlvr(rows: list[dict[str, Any]], inputs: dict[str, Path]) -> None:
    for benchmark in records.BENCHMARKS:
        [first] = {(r["persona"], r["problem_id"]) for r in rows if (r["rule"], r["benchmark"]) == ("first", benchmark)}
        scores = {r["variant"]: r["score"] for r in rows if (r["rule"], r["benchmark"]) == ("first", benchmark)}
        assert (scores["base"], scores["permix-rlvr"]) == (0, 1)
        before, after = (sweep_rows.read(inputs[name], benchmark) for name in ("base", "permix-rlvr"))
        for earlier, later in zip(before, after, strict=True):
            if earlier["persona"] in ("none", "helpful"):
                continue
            if (earlier["persona"], earlier["problem_id"]) == first:
                break
            assert not (earlier["score"] == 0 and later["score"] == 1)


def test_random_cases_follow_seed_and_benchmark_alone() -> None:
    scores = {"base": {(f"p{i % 4}", f"x{i}"): 1.0 for i in range(200)}}
    first = cases.choose(scores, "b", 0, 5)
    assert first == cases.choose({"base": dict(reversed(scores["base"].items()))}, "b", 0, 5)
    assert len(first) == 5
    assert {rule for rule, _ in first} == {"random"}
    assert cases.choose(scores, "b", 1, 5) != first != cases.choose(scores, "c", 0, 5)


def test_without_a_success_to_show_only_random_cases_are_shown() -> None:
    never = {"base": {("p", "x"): 0.0}, "permix-rlvr": {("p", "x"): 0.0}}
    assert cases.choose(never, "b", 0, 5) == [("random", ("p", "x"))]


def test_sweeps_that_differ_are_refused(inputs: dict[str, Path], tmp_path: Path) -> None:
    short = records.sweeps(tmp_path / "in", [("rlvr", 0)], problems=6)
    with pytest.raises(BadInput, match="base and rlvr on arithmetic differ in the number of problems"):
        cases.run(CONFIG, {**inputs, "rlvr": short["rlvr-seed0"]}, tmp_path / "out", context=None)  # type: ignore[arg-type]
