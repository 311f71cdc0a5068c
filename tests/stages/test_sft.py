"""Real SFT steps with stock TRL on a tiny Llama: what is learned, what is refused, and that a kill changes nothing."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from trl import SFTConfig

from permix import run_record
from permix.errors import BadInput
from permix.paper import variants
from permix.pipeline import recipes
from permix.prompting.prompts import messages
from permix.stage import own_fields
from permix.stages import sft
from permix.training import settings
from tests.support.cases import cases
from tests.support.trainings import (
    SHA,
    Trained,
    config_of,
    parts_of,
    row,
    train,
    train_killed,
    write_mixture,
)


@pytest.fixture(scope="module")
def trained(inputs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return train("sft", inputs, tmp_path_factory.mktemp("whole"))


def test_the_targets_are_learned(trained: Trained) -> None:
    out, facts = trained
    config = json.loads((out / "adapter_config.json").read_text())
    assert (config["base_model_name_or_path"], config["revision"]) == ("org/tiny", SHA)
    log = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    assert [entry["step"] for entry in log] == [1, 2, 3, 4, 5, 6]
    assert log[-1]["loss"] < 0.8 * log[0]["loss"]
    assert (facts["loss_last"], facts["steps"]) == (log[-1]["loss"], 6)
    cost = facts["cost"]
    assert cost["tokens_trained"] == log[-1]["num_tokens"] > 0  # a last, smaller batch
    assert cost["rows_seen"] % 16 != 0
    assert (out / "figures" / "training.png").read_bytes().startswith(b"\x89PNG")
    assert not (out / "README.md").exists()


def test_the_loss_is_on_the_target_alone(inputs: dict[str, Path], tmp_path: Path) -> None:
    trainer, lengths = sft.build(config_of("sft"), inputs, parts_of(tmp_path))
    for number in range(3):
        entry = trainer.train_dataset[number]
        learned = [t for t, label in zip(entry["input_ids"], entry["labels"], strict=True) if label != -100]
        text = trainer.processing_class.decode(learned)
        assert text.startswith("So it is ")
        assert text.endswith(".<|end|>")
        assert len(entry["input_ids"]) == lengths[number]


def test_a_killed_training_ends_in_the_same_adapter(trained: Trained, inputs: dict[str, Path], tmp_path: Path) -> None:
    train_killed("sft", inputs, tmp_path, step=3)
    out, facts = train("sft", inputs, tmp_path)
    assert run_record.content_digest(out) == run_record.content_digest(trained[0])
    assert facts == trained[1]


def test_every_key_is_one_of_trls_own() -> None:
    keys = set(settings.trainer_keys(config_of("sft")))
    assert keys <= {f.name for f in dataclasses.fields(SFTConfig)}
    assert set(own_fields(sft.Config)) == keys | {*settings.LORA, *settings.QUANTISATION, *settings.LAUNCH}


def test_one_page_serves_every_sft_row() -> None:
    names = [row.name for row in variants.VARIANTS.values() if row.trainer == "sft" and row.target == "gold"]
    text = ["variants=" + json.dumps(["base", *names]), "seeds=[0, 1]", "sft.max_length=99"]
    configs = sft.configs(recipes.load("smoke", text))
    assert [(c.variant, c.seed) for c in configs] == [(name, seed) for name in names for seed in (0, 1)]
    assert {c.max_length for c in configs} == {99}
    assert sft.STAGE.target(configs[-1]) == "permix-smoke/permix-toy-permix-sft-gold-seed1"
    assert sft.inputs(configs[0])["mixture"] == "datasets/permix-smoke/permix-mixture-arithmetic-sft"


def test_rows_that_are_too_long_are_refused_not_cut(inputs: dict[str, Path], tmp_path: Path) -> None:
    chat = messages("1?", instruction="plain")
    rows = [row("p/0", chat, "1"), row("p/1", chat, "1", target="1" * 100)]
    mixture = write_mixture(rows, tmp_path / "mixture")
    with pytest.raises(BadInput, match=r"1 of 2 rows .* are longer than \[sft\] max_length, 64 .* the longest has 106"):
        train("sft", inputs | {"mixture": mixture}, tmp_path)


def test_an_empty_target_is_refused(inputs: dict[str, Path], tmp_path: Path) -> None:
    rows = [row("p/7", messages("1?", instruction="plain"), "1", target=" \n")]
    with pytest.raises(BadInput, match="The target of p/7 in datasets/org/mixture is empty"):
        train("sft", inputs | {"mixture": write_mixture(rows, tmp_path / "mixture")}, tmp_path)


@pytest.mark.parametrize(("setting", "sentence"), cases(__file__)["refusals"])
def test_settings_that_cannot_train_are_refused(setting: dict[str, Any], sentence: str) -> None:
    with pytest.raises(BadInput, match=sentence):
        config_of("sft", **setting)
