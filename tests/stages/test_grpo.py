"""Real GRPO steps with stock TRL on a tiny Llama: what comes out, and that a kill does not change it."""

import dataclasses
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import HfApi
from safetensors.torch import load_file
from trl import GRPOConfig, ModelConfig

from permix import run_record
from permix.errors import BadInput
from permix.pipeline.checkpoints import Branches
from permix.pipeline.plan import Step
from permix.progress import Board
from permix.stage import own_fields
from permix.stages import grpo
from permix.training import settings
from tests.support.cases import cases
from tests.support.hubs import embedded
from tests.support.trainings import SHA, Trained, config_of, train, train_killed


@pytest.fixture(scope="module")
def trained(inputs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return train("grpo", inputs, tmp_path_factory.mktemp("whole"))


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_the_adapter_learns_and_pins_its_base(trained: Trained) -> None:
    out, facts = trained
    config = json.loads((out / "adapter_config.json").read_text())
    assert (config["base_model_name_or_path"], config["revision"]) == ("org/tiny", SHA)
    assert config["target_modules"] == sorted(settings.LINEAR)
    weights = load_file(out / "adapter_model.safetensors")
    moved = [bool(tensor.abs().max() > 0) for name, tensor in weights.items() if "lora_B" in name]
    assert len(moved) == 14
    assert any(moved)
    assert not (out / "README.md").exists()
    assert (out / "chat_template.jinja").exists()
    cost = facts["cost"]
    assert (facts["steps"], cost["completions"], cost["prompts_seen"], cost["tokens_sampled"]) == (6, 96, 12, 96)


def test_the_log_tells_reward_and_truncation_under_each_persona(trained: Trained) -> None:
    out, facts = trained
    log = lines(out / "log.jsonl")
    assert [entry["step"] for entry in log] == [1, 2, 3, 4, 5, 6]
    assert any(0 < entry["reward"] < 1 for entry in log)
    for entry in log:
        names = {"reward_std", "frac_reward_zero_std", "completions/mean_length", "completions/clipped_ratio"}
        assert names <= set(entry)
        keys = {name.split("/")[1] for name in entry if name.startswith("persona/")}
        assert keys
        assert keys <= {"none", "chemist", "poet"}
        for name in ("accuracy", "truncated"):
            shares = [entry[f"persona/{key}/{name}"] for key in keys]
            whole = entry["reward" if name == "accuracy" else "completions/clipped_ratio"]
            assert min(shares) <= whole <= max(shares)
    assert set(facts["by_persona"]) == {n.split("/")[1] for n in log[-1] if n.startswith("persona/")}


def test_samples_show_each_persona_at_its_first_and_last_step(trained: Trained) -> None:
    out, _ = trained
    samples = lines(out / "samples.jsonl")
    assert set(Counter(s["persona"] for s in samples).values()) <= {1, 2}
    assert {s["persona"] for s in samples} == {"none", "chemist", "poet"}
    for sample in samples:
        system = sample["prompt"][0]["content"] if sample["prompt"][0]["role"] == "system" else ""
        assert sample["persona"] in (system or "none")
        assert sample["score"] == {"correct": 1.0}.get(sample["status"], 0.0)


def test_a_killed_training_ends_elsewhere_alike(trained: Trained, inputs: dict[str, Path], tmp_path: Path) -> None:
    """By way of a branch of the Hub, which holds one whole checkpoint, and in the end is deleted."""
    train_killed("grpo", inputs, tmp_path / "here", step=3)
    hub = embedded(tmp_path / "cache")
    api = HfApi(endpoint=hub.endpoint, token=hub.token)
    config = config_of("grpo", org="moves", checkpoint_branch="delete")
    step = Step(grpo.STAGE, config, grpo.STAGE.target(config), {}, digest="0123456789abcdef")
    first, second = (Branches(hub, Board(quiet=True)) for _ in range(2))
    second.restore(step, tmp_path / "there" / "work")  # nothing is there yet
    first.push(step, tmp_path / "here" / "work")
    first.wait(step)
    assert {ref.name for ref in api.list_repo_refs(step.target).branches} == {"checkpoint-0123456789ab", "main"}
    assert api.list_repo_files(step.target) == [".gitattributes"]
    held = api.list_repo_files(step.target, revision="checkpoint-0123456789ab")
    assert {path.split("/")[1] for path in held if path.startswith("checkpoints/")} == {"checkpoint-2"}
    second.restore(step, tmp_path / "there" / "work")
    out, facts = train("grpo", inputs, tmp_path / "there")
    assert run_record.content_digest(out) == run_record.content_digest(trained[0])
    assert facts == trained[1]
    second.close(step, tmp_path / "there" / "work")
    assert [ref.name for ref in api.list_repo_refs(step.target).branches] == ["main"]


def test_every_key_is_one_of_trls_own() -> None:
    config = config_of("grpo")
    keys = set(settings.trainer_keys(config))
    assert keys <= {f.name for f in dataclasses.fields(GRPOConfig)}
    assert {*settings.LORA, *settings.QUANTISATION} <= {f.name for f in dataclasses.fields(ModelConfig)}
    own_keys = {*settings.LORA, *settings.QUANTISATION, *settings.LAUNCH, *settings.PROBES}
    assert set(own_fields(grpo.Config)) == keys | own_keys


@pytest.mark.parametrize(("setting", "sentence"), cases(__file__)["refusals"])
def test_settings_that_cannot_train_are_refused(setting: dict[str, Any], sentence: str) -> None:
    with pytest.raises(BadInput, match=sentence):
        config_of("grpo", **setting)
