"""Stage base: learns, is loaded by stock classes, and survives a kill without a trace."""

import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from permix.errors import BadInput
from permix.experiment.recipe import Recipe
from permix.pipeline import recipes
from permix.stage import StageContext
from permix.stages import base
from tests.support import warm

TINY: dict[str, Any] = {
    "steps": 24, "batch_size": 8, "hidden_size": 32, "intermediate_size": 64, "layers": 1, "heads": 1,
    "save_steps": 5, "checked_problems": 1,
}  # fmt: skip


class Progress:
    """The messages of a training, which is killed at the `last` one."""

    def __init__(self, last: int = 0) -> None:
        self.calls: list[tuple[float, float, str, str]] = []
        self.last = last

    def __call__(self, done: float, total: float, unit: str, note: str = "") -> None:
        self.calls.append((done, total, unit, note))
        if len(self.calls) == self.last:
            os.kill(os.getpid(), signal.SIGKILL)


Trained = tuple[Path, dict[str, Any], Progress]


def make(work: Path, last: int = 0, **changed: Any) -> tuple[dict[str, Any], Progress]:
    progress = Progress(last)
    parts = StageContext(work, {}, {}, progress, 1, None)  # type: ignore[arg-type]
    return base.run(base.Config(**TINY | changed), {}, work / "out", context=parts), progress


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    work = tmp_path_factory.mktemp("base")
    return work / "out", *make(work)


def test_it_learns_and_reports_tokens(trained: Trained) -> None:
    _, facts, progress = trained
    first, last = progress.calls[0], progress.calls[-1]
    assert len(progress.calls) == TINY["steps"]
    assert last[0] == last[1] == facts["tokens"]
    assert last[2] == "tokens"
    assert facts["loss"] < 0.9 * float(first[3].removeprefix("loss "))
    assert facts["world"]["plain"] == base.Config().plain
    assert sum(m["share"] for m in facts["methods"].values()) == pytest.approx(1, abs=0.01)


def test_stock_classes_load_and_sample_it(trained: Trained) -> None:
    out, facts, _ = trained
    settings = {"config.json", "generation_config.json", "tokenizer_config.json"}
    assert {p.name for p in out.iterdir()} == {"model.safetensors", "tokenizer.json", "chat_template.jinja"} | settings
    model, tok = AutoModelForCausalLM.from_pretrained(out), AutoTokenizer.from_pretrained(out)
    assert sum(p.numel() for p in model.parameters()) == facts["parameters"]
    chat = [{"role": "user", "content": "Mia has 3 apples."}]
    prompt = tok.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    torch.manual_seed(0)
    assert model.generate(**prompt, max_new_tokens=3, do_sample=True).shape[1] > prompt["input_ids"].shape[1]
    assert model.generation_config.eos_token_id == tok.eos_token_id


@pytest.mark.parametrize("steps", [3, 13])  # before the first checkpoint, and between two
def test_a_killed_run_started_again_gives_the_same_bytes(trained: Trained, tmp_path: Path, steps: int) -> None:
    assert warm.Child(make, tmp_path, steps).wait() == -signal.SIGKILL
    assert not (tmp_path / "out").exists()
    facts, progress = make(tmp_path)
    assert len(progress.calls) == TINY["steps"] - steps // 5 * 5
    assert facts == trained[1]
    for file in trained[0].iterdir():
        assert (tmp_path / "out" / file.name).read_bytes() == file.read_bytes(), file.name


def test_another_seed_gives_another_base(trained: Trained, tmp_path: Path) -> None:
    make(tmp_path, steps=2, model_seed=1)
    assert (tmp_path / "out/model.safetensors").read_bytes() != (trained[0] / "model.safetensors").read_bytes()


@pytest.mark.parametrize(
    "wrong", [{"plain": (1.0, 0.0)}, {"plain": (0.0,) * 4}, {"flourish": 2.0}, {"heads": 5}, {"steps": 0}]
)
def test_settings_that_make_no_sense_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(BadInput, match=next(iter(wrong))):
        base.Config(**wrong)


def test_it_is_made_once_and_only_where_the_base_is_the_toy() -> None:
    recipe = Recipe(name="x", org="me", tag="t", seeds=(3, 4), tables={"base": {"steps": 7}})
    (config,) = base.configs(recipe)
    assert (base.target(config), config.steps, base.STAGE.inputs(config)) == ("me/permix-toy-base", 7, {})
    assert base.target(config) == recipe.base_repo
    assert base.configs(Recipe(name="x", base="org/model")) == []
    assert base.estimate(config)["tokens"] > 0


def test_the_teacher_is_larger_lives_in_the_same_world_and_is_made_only_for_who_learns_from_it() -> None:
    world = ["toy.flourish=0.3", "toy.steps=7", "toy.teacher.steps=9"]
    first, teacher = base.configs(recipes.load("toy-full", [*world, "seeds=[3]", "tag=t"]))
    assert (base.target(first), base.target(teacher)) == ("permix/permix-toy-base", "permix/permix-toy-teacher")
    assert (teacher.steps, teacher.flourish, teacher.hidden_size) == (9, 0.3, 128)
    assert first.steps == 7
    assert teacher.hidden_size // teacher.heads in (32, 64)  # what vLLM can run
    (alone,) = base.configs(recipes.load("toy", ["base=org/model", 'variants=["permix-seqkd-toy"]']))
    assert (alone.role, alone.steps) == ("teacher", base.TEACHER["steps"])
    sentence = r"\[toy.teacher\] of toy-full.toml has an unknown key 'step': did you mean 'steps'"
    with pytest.raises(BadInput, match=sentence):
        recipes.load("toy-full", ["toy.teacher.step=1"])
