"""spaces/pss, loaded by the real `evaluate` from its folder."""

import ast
import runpy
import shutil
from pathlib import Path
from typing import Any

import evaluate
import numpy as np
import pytest
import yaml

from permix import files
from permix.results.measures import pss

SPACE = files.SPACES / "pss"


@pytest.fixture(scope="module")
def metric() -> Any:
    return evaluate.load(str(SPACE))


@pytest.mark.parametrize("case", runpy.run_path(str(SPACE / "tests.py"))["test_cases"])
def test_the_cases_on_the_metrics_page_hold(metric: Any, case: dict[str, Any]) -> None:
    result = metric.compute(scores=case["scores"], personas=case["personas"])
    for key, value in case["result"].items():
        assert result[key] == (pytest.approx(value) if isinstance(value, float) else value)


def test_the_metric_and_the_package_give_the_same_numbers(metric: Any) -> None:
    scores = np.random.default_rng(0).integers(0, 2, 300).tolist()
    labels: dict[str, Any] = {"personas": [f"p{i % 3}" for i in range(300)], "problems": [i // 6 for i in range(300)]}
    runs = [i // 3 % 2 for i in range(300)]
    assert metric.compute(scores=scores, **labels, runs=runs, seed=4) == pss.compute(
        scores, **labels, runs=runs, seed=4
    )


def test_scores_added_in_batches_count_together(metric: Any) -> None:
    metric.add_batch(scores=[1.0, 0.0], personas=["a", "a"])
    metric.add_batch(scores=[1.0, 1.0], personas=["b", "b"])
    assert metric.compute()["pss"] == 0.5


@pytest.mark.parametrize(("scores", "sentence"), [([None, 1.0], "missing"), ([2.0, 1.0], "outside"), ([], "flat list")])
def test_bad_scores_are_refused_through_evaluate(scores: list[Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        evaluate.load(str(SPACE)).compute(scores=scores, personas=["a", "b"][: len(scores)])


def test_a_changed_copy_of_the_folder_is_not_served_from_the_cache(metric: Any, tmp_path: Path) -> None:
    copy = tmp_path / "pss"
    shutil.copytree(SPACE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    core = copy / "pss_core.py"
    core.write_text(core.read_text().replace('"worst": float(accuracy[worst])', '"worst": 42.0'))
    columns = {"scores": [0.5, 1.0], "personas": ["a", "b"]}
    assert evaluate.load(str(copy)).compute(**columns)["worst"] == 42.0
    assert metric.compute(**columns)["worst"] == 0.5


def test_the_card_declares_a_metric_space_and_names_every_key() -> None:
    _, front, body = (SPACE / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    settings = yaml.safe_load(front)
    assert [settings[key] for key in ("sdk", "app_file", "python_version")] == ["gradio", "app.py", "3.12"]
    assert {"evaluate", "metric"} <= set(settings["tags"])
    assert len(settings["short_description"]) <= 60
    result = pss.compute([0.5, 1.0] * 2, ["a", "b"] * 2, [1, 1, 2, 2], [0] * 4)
    intervals = {f"{key}_{end}" for key in ("worst", "best", "mean", "pss_corrected") for end in ("low", "high")}
    assert [key for key in result.keys() - intervals if f"`{key}`" not in body] == []


def test_the_statistics_need_numpy_only() -> None:
    tree = ast.parse((SPACE / "pss_core.py").read_text())
    names = {a.name for node in ast.walk(tree) if isinstance(node, ast.Import) for a in node.names}
    names |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name.split(".")[0] for name in names} == {"math", "collections", "typing", "numpy"}
