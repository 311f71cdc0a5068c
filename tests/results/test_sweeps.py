"""permix.results.measures.sweeps: counting and pairing what finished sweeps hold."""

from pathlib import Path
from typing import Any

import pytest

from permix.errors import BadInput
from permix.results.measures import pss, sweeps
from permix.stages.shared import sweep_rows
from tests.support import records


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return records.sweeps(tmp_path_factory.mktemp("sweeps"), [("base", 0), ("rlvr", 0)], problems=12)


def rows(scores: dict[tuple[str, str], list[float]]) -> dict[str, list[Any]]:
    every = [(persona, problem, score) for (persona, problem), many in scores.items() for score in many]
    return dict(zip(("persona", "problem_id", "score"), map(list, zip(*every, strict=True)), strict=True))


def test_correct_answers_are_counted_and_controls_stand_aside() -> None:
    table = {("a", "x"): [1, 0], ("a", "y"): [0, 0], ("b", "x"): [1, 1], ("b", "y"): [1, 0]}
    table |= {("none", "x"): [1, 1], ("none", "y"): [1, 0], ("helpful", "x"): [0, 0], ("helpful", "y"): [0, 0]}
    counts = sweeps.count(rows({k: [float(s) for s in v] for k, v in table.items()}))
    assert (counts.personas, counts.problems, counts.runs) == (("a", "b"), ("x", "y"), 2)
    assert (counts.correct.tolist(), counts.plain.tolist()) == ([[1, 0], [2, 1]], [1.0, 0.5])
    assert (counts.means.tolist(), counts.cells.mean(1).tolist()) == ([0.25, 0.75], counts.means.tolist())
    assert 0 < counts.cells.min() < counts.cells.max() < 1


def test_a_sweep_with_a_hole_is_refused() -> None:
    with pytest.raises(BadInput, match="does not have every persona on every problem equally often"):
        sweeps.count(rows({("a", "x"): [1.0], ("a", "y"): [0.0], ("b", "x"): [1.0]}))


def test_pairs_are_those_of_the_rows_themselves(folders: dict[str, Path]) -> None:
    paired = sweeps.pairing(folders)
    first, second = ({"variant": name, "seed": 0, "benchmark": "arithmetic"} for name in ("base", "rlvr"))
    first_rows, second_rows = (
        [r for r in sweep_rows.read(folders[f"{name}-seed0"], "arithmetic") if r["persona"] not in ("none", "helpful")]
        for name in ("base", "rlvr")
    )
    scores = [[row["score"] for row in table] for table in (first_rows, second_rows)]
    personas, problems = ([row[name] for row in first_rows] for name in ("persona", "problem_id"))
    direct = pss.paired(scores[0], scores[1], personas, problems)
    assert paired(first, second) == pytest.approx(direct)
    assert paired(first, second) is paired(first, second), "made once"


def test_runs_of_a_problem_may_be_averaged_before_pairing() -> None:
    personas, problems = ["a", "a", "b", "b"] * 2, ["x", "y"] * 4
    first, second = [1, 0, 0, 0, 0, 1, 1, 0], [1, 1, 0, 1, 1, 1, 1, 0]
    means = [[(s[i] + s[i + 4]) / 2 for i in range(4)] for s in (first, second)]
    every, averaged = pss.paired(first, second, personas, problems), pss.paired(*means, personas[:4], problems[:4])
    assert averaged == pytest.approx(every)


def test_a_missing_benchmark_is_named(folders: dict[str, Path]) -> None:
    with pytest.raises(BadInput, match="The sweep of base has no benchmark 'gsm8k'"):
        sweeps.summary(folders["base-seed0"], "base", "gsm8k")
