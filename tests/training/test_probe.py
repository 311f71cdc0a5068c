"""Probes of real GRPO steps: what they tell, and that a training does not notice them."""

import json
from pathlib import Path
from typing import Any

import pytest

from permix import files, run_record
from permix.errors import BadInput
from permix.pipeline import recipes
from permix.stages import grpo
from permix.training import distributed, probe
from tests.support.trainings import config_of, train, train_killed

PROBED: dict[str, Any] = {"probe_steps": 4, "probe_problems": 8, "personas": "datasets/org/personas"}


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_probed_training_ends_in_the_same_weights_killed_or_not(inputs: dict[str, Path], tmp_path: Path) -> None:
    plain, _ = train("grpo", inputs, tmp_path / "plain")
    inputs = inputs | {"personas": files.PERSONAS}
    probed, _ = train("grpo", inputs, tmp_path / "probed", **PROBED)
    weights = [(out / "adapter_model.safetensors").read_bytes() for out in (plain, probed)]
    assert weights[0] == weights[1]
    assert lines(plain / "log.jsonl") == lines(probed / "log.jsonl")
    assert not (plain / "probe.jsonl").exists()
    rows = lines(probed / "probe.jsonl")
    assert [row["step"] for row in rows] == [0, 4, 6]
    for row in rows:
        assert set(row) == {"step", "worst", "best", "mean", "pss", "pss_null", "fidelity"}
        assert 0 <= row["worst"] <= row["mean"] <= row["best"] <= 1
    assert rows[0]["best"] > 0  # the tiny base is right now and then, so there is something to see
    train_killed("grpo", inputs, tmp_path / "again", step=3, **PROBED)
    again, _ = train("grpo", inputs, tmp_path / "again", **PROBED)
    assert run_record.content_digest(again) == run_record.content_digest(probed)


def test_a_probe_asks_the_first_problems_under_every_persona_in_place_of_their_own() -> None:
    chat = [{"role": "system", "content": "You are a poet."}, {"role": "user", "content": "1 + 1?"}]
    table = [{"problem_id": f"p/{n % 3}", "persona": "poet", "prompt": chat, "gold": str(n)} for n in range(6)]
    questions = probe.questions(config_of("grpo", **PROBED), table, files.PERSONAS)
    assert len(questions) == 3 * 16
    assert {row["gold"] for row in questions} == {"0", "1", "2"}
    assert all(len(row["prompt"]) == 2 and row["prompt"][1] == chat[1] for row in questions)
    assert len({row["prompt"][0]["content"] for row in questions}) == 16


def test_a_recipe_that_probes_gives_the_trainers_the_personas() -> None:
    toy = recipes.load("smoke", ["grpo.probe_steps=2"])
    plain = recipes.load("smoke", ["grpo.probe_steps=0"])
    for config, other in zip(grpo.configs(toy), grpo.configs(plain), strict=True):
        assert grpo.inputs(config)["personas"] == toy.eval_personas_repo
        assert config.toy
        assert "personas" not in grpo.inputs(other)
        assert not other.personas
        assert grpo.estimate(config)["completions"] > grpo.estimate(other)["completions"]


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ({"probe_steps": -1}, r"\[grpo\] probe_steps is -1: it should be at least 1, or 0 for no probes"),
        ({"probe_problems": 0}, r"\[grpo\] probe_problems is 0: it should be at least 1"),
    ],
)
def test_probes_that_cannot_be_are_refused(setting: dict[str, Any], sentence: str) -> None:
    with pytest.raises(BadInput, match=sentence):
        config_of("grpo", **setting)


def test_probes_need_the_whole_model_in_a_process() -> None:
    with pytest.raises(BadInput, match=r"FSDP: probes need the whole model in each process; set probe_steps = 0"):
        distributed.check(config_of("grpo", accelerate_config="fsdp2", **PROBED), gpus=2)
