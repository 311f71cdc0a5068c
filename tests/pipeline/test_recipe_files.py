"""Recipes are read strictly: whatever is wrong is said in one sentence."""

from pathlib import Path

import pytest

from permix import benchmarks
from permix.benchmarks import Source
from permix.errors import BadInput
from permix.experiment.recipe import Recipe
from permix.pipeline import plan, recipes
from permix.stages import grpo, sweep
from tests.support.cases import cases


@pytest.mark.parametrize("name", recipes.names())
def test_every_recipe_parses_and_its_chain_has_no_two_equal_targets(name: str) -> None:
    steps = plan.build(recipes.load(name))
    assert len({s.target for s in steps}) == len(steps) > 3
    targets = {s.target for s in steps}
    for number, step in enumerate(steps):
        assert all(repo not in targets or repo in {s.target for s in steps[:number]} for repo in step.needs.values())


def parse(text: str, tmp_path: Path) -> Recipe:
    path = tmp_path / "own.toml"
    path.write_text(text)
    return recipes.load(str(path))


BAD = {name: (text, sentence) for name, text, sentence in cases(__file__)["refusals"]}


@pytest.mark.parametrize("case", BAD)
def test_refuses(case: str, tmp_path: Path) -> None:
    text, sentence = BAD[case]
    with pytest.raises(BadInput, match=sentence) as error:
        plan.build(parse(text, tmp_path))
    assert "\n" not in str(error.value)


def test_an_unknown_recipe_names_the_nearest() -> None:
    with pytest.raises(BadInput, match="no recipe 'tooy': did you mean 'toy'"):
        recipes.load("tooy")


def test_overrides_reach_stages_and_keep_their_types() -> None:
    loaded = recipes.load("toy", ["grpo.max_steps=7", "org=mylab", "sweep.temperature=1", "seeds=[1, 2]"])
    assert (loaded.org, loaded.seeds) == ("mylab", (1, 2))
    assert {c.max_steps for c in grpo.configs(loaded)} == {7}
    assert {type(c.temperature) for c in sweep.configs(loaded)} == {float}


def test_an_override_without_equals_is_refused() -> None:
    with pytest.raises(BadInput, match="should be key=value"):
        recipes.load("toy", ["grpo.max_steps"])


def test_seeds_name_the_targets_and_the_base_is_measured_once() -> None:
    loaded = recipes.load("toy", ["seeds=[0, 3]"])
    targets = [sweep.target(c) for c in sweep.configs(loaded)]
    assert targets == [
        "datasets/permix/permix-sweep-permix-toy-base", "datasets/permix/permix-sweep-permix-toy-rlvr",
        "datasets/permix/permix-sweep-permix-toy-rlvr-seed3", "datasets/permix/permix-sweep-permix-toy-permix-rlvr",
        "datasets/permix/permix-sweep-permix-toy-permix-rlvr-seed3",
    ]  # fmt: skip


def test_own_base_task_personas_and_benchmark() -> None:
    loaded = recipes.load(str(Path(__file__).with_name("own.toml")))
    task = Source(name="tasks", dataset="me/tasks", problem="q", answer="a", verifier="exact", split="train")
    assert loaded.task == task
    config = sweep.configs(loaded)[1]
    assert sweep.inputs(config) == {
        "base": "me/model@abc", "personas": "datasets/me/people", "adapter": "permix/model-rlvr-try",
        "benchmark/quiz": "datasets/me/quiz", "benchmark/gsm8k": benchmarks.builtin("gsm8k").repo,
    }  # fmt: skip
    assert sweep.target(config) == "datasets/permix/permix-sweep-model-rlvr-try"
