"""Calibrations: what a recipe's grids stand for, what is refused, and which point is nearest."""

from typing import Any

import pytest

from permix import paper
from permix.errors import BadInput
from permix.experiment import calibration
from permix.pipeline import recipes
from tests.support.cases import cases

GOAL = {"base": {"arithmetic": [0.1, 0.3]}}
GRIDS: list[dict[str, Any]] = [
    {"variant": "base", "sweep": {"temperature": [1.0, 0.5]}},
    {"variant": "base", "grpo": {"lora_r": [16, 8], "lora_alpha": [32, 16]}},
]


def test_each_point_changes_the_recipe_under_a_tag_of_its_own() -> None:
    design = calibration.read({"goal": GOAL, "grid": GRIDS}, ["arithmetic"], "x.toml")
    assert design.start == {"sweep.temperature": 1.0, "grpo.lora_r": 16, "grpo.lora_alpha": 32}
    both = {**design.start, **design.grids[0].points[1], **design.grids[1].points[1]}
    loaded = recipes.load("smoke", design.changes("rlvr", both, "cal"))
    assert (loaded.tag, loaded.settings("sweep")["temperature"]) == ("cal-lora_alpha16-lora_r8-temperature0.5", 0.5)
    assert loaded.settings("grpo")["lora_alpha"] == 16
    assert recipes.load("smoke", design.changes("rlvr", design.start, "")).tag == ""


def test_the_distance_is_that_of_worst_and_best() -> None:
    goal = {"a": (0.2, 0.4), "b": (0.5, 0.5)}
    assert calibration.distance(goal, goal) == 0
    assert calibration.distance(goal, {"a": (0.1, 0.4), "b": (0.5, 0.6)}) == pytest.approx((0.02 / 4) ** 0.5)


@pytest.mark.parametrize(("table", "sentence"), cases(__file__)["refusals"])
def test_a_table_that_is_not_a_calibration_is_refused(table: dict[str, Any], sentence: str) -> None:
    with pytest.raises(BadInput, match=sentence):
        calibration.read(table, ["arithmetic"], "x.toml")


def test_the_goals_of_the_recipe_calibrate_are_the_papers_rows_and_every_point_is_a_recipe() -> None:
    plan = recipes.load("calibrate")
    design = plan.calibration
    assert design is not None
    assert plan.variants == ("base", "rlvr")
    for variant, goal in design.goals.items():
        for benchmark, ends in goal.items():
            assert ends == tuple(paper.values()[variant, benchmark, end] for end in ("worst", "best"))
    keys = {key.rpartition(".")[2] for grid in design.grids for point in grid.points for key in point}
    assert {"temperature", "max_tokens", "answer_rule", "instruction", "lora_r", "learning_rate", "beta"} <= keys
    points = [recipes.load("calibrate", changes) for changes in design.designs(plan.tag)]
    for grid in design.grids:
        tried, points = points[: len(grid.points)], points[len(grid.points) :]
        assert len({point.tag for point in tried}) == len(tried)
        assert {point.variants for point in tried} == {(grid.variant,)}
    assert not points
