"""Recipes are read strictly: whatever is wrong is said in one sentence."""

from pathlib import Path

import pytest

from permix import benchmarks
from permix.benchmarks import Source
from permix.errors import BadInput
from permix.experiment.recipe import Recipe
from permix.pipeline import plan, recipes
from permix.stages import grpo, sweep


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


BAD = {
    "unknown key names the nearest": ('bass = "toy"', "unknown key 'bass'.*did you mean 'base'"),
    "a key without its table": (
        "learning_rate = 1.0",
        "unknown key 'learning_rate'.*did you mean 'sft.learning_rate' or 'grpo.learning_rate'",
    ),
    "a key that is misspelt, without its table": (
        "max_completion_lenght = 1",
        "did you mean '\\w+.max_completion_length'",
    ),
    "unknown key of a stage": ("[grpo]\nlearning_rat = 1.0", r"\[grpo\].*learning_rat.*did you mean 'learning_rate'"),
    "a key of another table": (
        "[sft]\nnum_generations = 8",
        r"\[sft\].*unknown key 'num_generations': did you mean 'grpo.num_generations'",
    ),
    "a given field is no key": ('[grpo]\nvariant = "rlvr"', "unknown key 'variant'"),
    "wrong type": ('[grpo]\nmax_steps = "many"', "max_steps.*should be of type int, not str"),
    "a boolean is no number": ("[sweep]\nruns = true", "runs.*should be of type int, not bool"),
    "wrong choice": ('[grpo]\nloss_type = "ppo"', "loss_type.*one of 'dapo'"),
    "a list is wanted": ('variants = "base"', "variants.*should be a list"),
    "unknown variant": ('variants = ["rlvr", "permix-rvlr"]', "no variant 'permix-rvlr': did you mean 'permix-rlvr'"),
    "unknown benchmark": ('benchmarks = ["gsm8"]', "no benchmark 'gsm8': did you mean 'gsm8k'"),
    "the same twice": ('benchmarks = ["arithmetic"]\nvariants = ["base", "base"]', "variants.*names one twice"),
    "no variant": ('benchmarks = ["arithmetic"]\nvariants = []', "variants.*is empty"),
    "missing base": ('benchmarks = ["arithmetic"]\nbase = ""', "names no base model"),
    "base is no Hub id": ('benchmarks = ["arithmetic"]\nbase = "llama"', "base.*should be a Hub id"),
    "table instead of value": ("[base]\nsteps = 1", "base.*should be of type str"),
    "group does not divide the batch": (
        'benchmarks = ["arithmetic"]\n[grpo]\nnum_generations = 7\nper_device_train_batch_size = 8',
        "num_generations is 7 and does not divide the 8 completions.*2, 4, 8",
    ),
    "a name that makes no file name": (
        'benchmarks = ["a/b"]\n[benchmark."a/b"]\ndataset = "me/quiz"',
        "'a/b' .* names files on the Hub",
    ),
    "no TOML": ("base = ", "not TOML"),
}


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
        "datasets/permix/permix-sweep-permix-toy-base",
        "datasets/permix/permix-sweep-permix-toy-rlvr",
        "datasets/permix/permix-sweep-permix-toy-rlvr-seed3",
        "datasets/permix/permix-sweep-permix-toy-permix-rlvr",
        "datasets/permix/permix-sweep-permix-toy-permix-rlvr-seed3",
    ]


def test_own_base_task_personas_and_benchmark(tmp_path: Path) -> None:
    loaded = parse(
        """
        base = "me/model@abc"
        tag = "try"
        benchmarks = ["quiz", "gsm8k"]
        [personas]
        dataset = "me/people"
        [task]
        dataset = "me/tasks"
        problem = "q"
        answer = "a"
        verifier = "exact"
        [benchmark.quiz]
        dataset = "me/quiz"
        verifier = "choice"
        """,
        tmp_path,
    )
    assert loaded.task == Source(
        name="tasks", dataset="me/tasks", problem="q", answer="a", verifier="exact", split="train"
    )
    config = sweep.configs(loaded)[1]
    assert sweep.inputs(config) == {
        "base": "me/model@abc",
        "personas": "datasets/me/people",
        "adapter": "permix/model-rlvr-try",
        "benchmark/quiz": "datasets/me/quiz",
        "benchmark/gsm8k": benchmarks.builtin("gsm8k").repo,
    }
    assert sweep.target(config) == "datasets/permix/permix-sweep-model-rlvr-try"
