"""The steps of a recipe, and the state of each on the Hub."""

import importlib.util
import re
from dataclasses import replace
from pathlib import Path

import pytest
from huggingface_hub import HfApi

from permix import benchmarks, stages
from permix.errors import BadInput, PermixError
from permix.pipeline import plan, published, recipes
from permix.publishing.hub import Hub
from permix.stages import cases
from tests.support import trials
from tests.support.trials import step


@pytest.fixture(autouse=True)
def trial_stages(monkeypatch: pytest.MonkeyPatch) -> None:
    trials.join(monkeypatch)


def test_two_rows_with_one_target_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stages, "NAMES", tuple(name for name in stages.NAMES if not name.startswith("trial")))
    same = replace(cases.STAGE, target=lambda config: "datasets/permix/permix-tables")
    monkeypatch.setattr(cases, "STAGE", same)
    sentence = "Two rows .* target datasets/permix/permix-tables .stages cases and tables.: give one a tag"
    with pytest.raises(BadInput, match=sentence):
        plan.build(recipes.load("toy"))


def test_a_stage_brings_all_that_it_needs_and_no_more() -> None:
    steps = [step("o", "a"), step("o", "b", needs=["a"]), step("o", "c"), step("o", "d", "trial_alone", needs=["b"])]
    assert [s.target[-1] for s in plan.until(steps, "trial_alone")] == ["a", "b", "d"]
    assert plan.until(steps, None) == steps
    assert plan.until(steps[:3], "trial_alone") == []


def test_states_are_missing_current_and_stale(hub: Hub, org: str, tmp_path: Path) -> None:
    def states(text: str = "text", fresh: bool = False) -> list[str]:
        steps = [step(org, "a", text=text), step(org, "b", needs=["a"])]
        steps[0].fresh = fresh
        plan.look_up(steps, hub)
        return [s.state for s in steps]

    assert states() == ["missing", "missing"]
    trials.run(hub, tmp_path / "work", step(org, "a"))
    assert states() == ["current", "missing"]
    trials.run(hub, tmp_path / "work", step(org, "a"), step(org, "b", needs=["a"]))
    assert states() == ["current", "current"]
    assert states(text="new") == ["stale", "stale"]
    assert states(fresh=True) == ["stale", "stale"]


def test_somebody_elses_repository_is_not_overwritten(hub: Hub, org: str) -> None:
    api = HfApi(hub.endpoint, token=hub.token)
    api.create_repo(f"{org}/a", repo_type="dataset")
    first = step(org, "a")
    plan.look_up([first], hub)  # empty, as a killed run may leave it
    assert first.state == "missing"
    api.upload_file(path_or_fileobj=b"1", path_in_repo="a.csv", repo_id=f"{org}/a", repo_type="dataset")
    sentence = f"datasets/{org}/a on .* holds files that permix did not publish: set org= or tag="
    with pytest.raises(BadInput, match=sentence):
        plan.look_up([first], hub)


def test_inputs_from_elsewhere_are_resolved_at_their_revision(hub: Hub, org: str, tmp_path: Path) -> None:
    published = trials.run(hub, tmp_path / "work", step(org, "a"))
    trials.run(hub, tmp_path / "work", step(org, "a", noise=1))
    at = f"datasets/{org}/a@v1.0.0"
    user = step(org, "b")
    user.needs = {"old": at}
    assert plan.look_up([user], hub)[at].sha == published["a"].sha


def test_a_copy_stands_for_the_pinned_benchmark(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "copy").mkdir()
    (tmp_path / "copy" / "test.jsonl").write_text("{}")
    sha = hub.publish("datasets/HuggingFaceH4/MATH-500", tmp_path / "copy", "a copy", None)
    pinned = benchmarks.builtin("math500").repo
    assert pinned.partition("@")[2]
    assert plan.foreign_input(pinned, hub, "sweep").sha == sha
    with pytest.raises(BadInput, match="has no revision"):
        plan.foreign_input(f"{pinned[:-1]}x", hub, "sweep")
    with pytest.raises(BadInput, match=f"has no revision '{pinned.partition('@')[2]}'"):
        plan.foreign_input(pinned, replace(hub, embedded=False), "sweep")


def test_an_input_that_is_not_there_names_who_needs_it(hub: Hub, org: str) -> None:
    needy = step(org, "b", needs=["nothing"])
    sentence = f"datasets/{org}/nothing is needed by stage trial and is not on {hub.endpoint}: `permix hub import"
    with pytest.raises(BadInput, match=re.escape(sentence)):
        plan.look_up([needy], hub)


def test_stages_check_new_foreign_inputs(hub: Hub, org: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[str] = []
    page = replace(stages.get("trial"), check=lambda _, inputs: looked.append((inputs["0"] / "data.txt").read_text()))
    trials.run(hub, tmp_path / "work", step(org, "a"))
    needy = step(org, "b", needs=["a"])
    needy.stage = page
    for _ in range(2):
        foreign = plan.look_up([needy], hub)
        plan.check_foreign([needy], foreign, hub)
        trials.run(hub, tmp_path / "work", needy)
    assert looked == ["text"]


def test_finding_an_artifact_tells_nothing_from_not_ours(hub: Hub, org: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=f"There is no repository datasets/{org}/a on"):
        published.artifact(f"datasets/{org}/a", hub)
    HfApi(hub.endpoint, token=hub.token).create_repo(f"{org}/a", repo_type="dataset")
    with pytest.raises(PermixError, match=f"datasets/{org}/a has no run.json: it was not made by permix"):
        published.artifact(f"datasets/{org}/a", hub)
    artifacts = trials.run(hub, tmp_path / "work", step(org, "a"))
    assert published.artifact(f"datasets/{org}/a", hub).sha == artifacts["a"].sha


def test_a_name_without_its_owner_is_answered_on_the_embedded_hub_alone(hub: Hub, org: str, tmp_path: Path) -> None:
    """Another Hub's repositories are too many to list."""
    trials.run(hub, tmp_path / "work", step(org, "lonely"))
    with pytest.raises(BadInput, match=f"did you mean datasets/{org}/lonely"):
        published.artifact("lonely", hub)
    assert published.suggestion("lonely", replace(hub, embedded=False)) == ""


def test_a_stage_whose_packages_are_missing_is_refused_before_anything_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stages, "NAMES", stages.NAMES[:-2])
    steps = plan.build(recipes.load("toy"))
    plan.check_packages(steps)
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "torch" else find(name))
    with pytest.raises(BadInput, match=r"Stage base needs torch, not installed: pip install 'permix\[train\]'"):
        plan.check_packages(steps)
    plan.check_packages([step for step in steps if step.stage.name in ("personas", "mixtures", "tables")])
