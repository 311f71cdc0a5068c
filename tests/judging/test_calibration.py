"""The examination of judges: its answers, and what passes."""

from typing import Any

import pytest

from permix.judging import calibration
from permix.prompting import persona, prompts
from tests.support.cases import cases


def scored(**scores: float | None) -> list[dict[str, Any]]:
    usual = {"in_character": 5.0, "out_of_character": 2.0, "swapped": 2.0, "admits_ai": 1.0, "empty": 1.0}
    by_group: dict[str, float | None] = usual | {"injecting": 2.0} | scores
    return [row | {"score": by_group[row["group"]]} for row in calibration.rows()]


def test_every_case_has_an_answer_of_every_group_to_one_of_the_pools_personas() -> None:
    rows = calibration.rows()
    assert len(rows) == 5 * len(calibration.GROUPS)
    assert len({row["id"] for row in rows}) == len(rows)
    assert {row["persona"] for row in rows} <= {known.system_prompt for known in persona.bundled("eval")}
    assert all(row["answer"] == "" for row in rows if row["group"] == "empty")
    assert len({row["answer"] for row in rows}) == 3 * 5 + 2 + 5
    by_id = {row["id"]: row["answer"] for row in rows}
    for number in range(5):
        assert by_id[f"{number}|injecting"] == by_id[f"{number}|out_of_character"] + calibration.INJECTS
    assert all(prompts.templates(f"rubrics/{row['task']}") for row in rows)


def test_a_judge_that_orders_the_groups_passes() -> None:
    examined = calibration.result(scored())
    assert examined["passed"]
    assert (examined["wrong"], examined["missing"], examined["means"]["in_character"]) == ([], 0, 5)
    assert list(examined["means"]) == list(calibration.GROUPS)


@pytest.mark.parametrize(("scores", "wrong"), cases(__file__)["failures"])
def test_a_judge_that_does_not_is_told_what_was_wrong(scores: dict[str, float | None], wrong: list[str]) -> None:
    examined = calibration.result(scored(**scores))
    assert not examined["passed"]
    assert examined["wrong"] == wrong


def test_a_judge_that_says_nothing_does_not_pass() -> None:
    examined = calibration.result(scored(**dict.fromkeys(calibration.GROUPS, None)))
    assert not examined["passed"]
    assert (examined["missing"], set(examined["means"].values())) == (30, {None})
