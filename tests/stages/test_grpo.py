"""Real GRPO steps with stock TRL on a tiny Llama: what comes out, and that a kill does not change it."""

import dataclasses
import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from permix import provenance
from permix.errors import BadInput
from permix.prompt import messages
from permix.stage import Parts, own_fields
from permix.stages import grpo
from tests.tiny_model import make_tiny_model

SETTINGS: dict[str, Any] = {
    "variant": "rlvr",
    "base": "org/tiny",
    "base_slug": "tiny",
    "mixture": "datasets/org/mixture",
    "learning_rate": 1e-2,
    "max_completion_length": 1,
    "per_device_train_batch_size": 16,
    "num_generations": 8,
    "max_steps": 6,
    "save_steps": 2,
    "lora_r": 4,
    "lora_dropout": 0.0,
}
SHA = "0123456789" * 4


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A tiny base, and problems whose gold is the token it likes best: so some of its samples are right."""
    import pyarrow as arrow
    import pyarrow.parquet as parquet
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    root = tmp_path_factory.mktemp("grpo")
    make_tiny_model(root / "base")
    tokenizer, model = (c.from_pretrained(root / "base") for c in (AutoTokenizer, AutoModelForCausalLM))
    rows = []
    for number in range(400):
        chat = messages(f"{number} + {number}?", instruction="plain")
        ids = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt", return_dict=True)
        with torch.no_grad():
            liked = tokenizer.decode(model(**ids).logits[0, -1].argmax()).strip()
        if liked.isascii() and liked.isalnum():
            rows.append({"prompt": chat, "gold": liked, "kind": "exact", "persona": None})
    assert len(rows) >= 32
    (root / "mixture" / "data").mkdir(parents=True)
    parquet.write_table(arrow.Table.from_pylist(rows), root / "mixture" / "data" / "train-00000-of-00001.parquet")
    return {"base": root / "base", "mixture": root / "mixture"}


RUN = """
import sys
from pathlib import Path
import torch
from permix.stage import Parts
from permix.stages import grpo
from tests.stages.test_grpo import SETTINGS, SHA
torch.set_num_threads(1)
base, mixture, work, out = map(Path, sys.argv[1:5])
def progress(done, total, unit, note=""):
    print(done, flush=True)
    if done == float(sys.argv[5]):
        import os, signal
        os.kill(os.getpid(), signal.SIGKILL)
parts = Parts(work, {"base": f"org/tiny@{SHA}"}, {}, progress, 1, None)
grpo.run(grpo.Config(**SETTINGS), {"base": base, "mixture": mixture}, out, parts=parts)
"""


def train(inputs: dict[str, Path], folder: Path, kill_at: int = -1) -> tuple[Path, int]:
    """Run the stage in a process of its own; return its output folder and the exit code."""
    work, out = folder / "work", folder / "out"
    for path in (work, out):
        path.mkdir(parents=True, exist_ok=True)
    arguments = [str(p) for p in (inputs["base"], inputs["mixture"], work, out)]
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", RUN, *arguments, str(kill_at)], cwd=root, capture_output=True, text=True
    )
    if done.returncode not in (0, -signal.SIGKILL):
        raise AssertionError(done.stderr)
    return out, done.returncode


@pytest.fixture(scope="module")
def trained(inputs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(inputs, tmp_path_factory.mktemp("whole"))[0]


def test_the_adapter_learns_and_pins_its_base(trained: Path) -> None:
    from safetensors.torch import load_file

    config = json.loads((trained / "adapter_config.json").read_text())
    assert (config["base_model_name_or_path"], config["revision"]) == ("org/tiny", SHA)
    assert config["target_modules"] == sorted(grpo.LINEAR)
    weights = load_file(trained / "adapter_model.safetensors")
    moved = [bool(tensor.abs().max() > 0) for name, tensor in weights.items() if "lora_B" in name]
    assert len(moved) == 14 and any(moved)
    log = [json.loads(line) for line in (trained / "log.jsonl").read_text().splitlines()]
    assert [entry["step"] for entry in log] == [1, 2, 3, 4, 5, 6]
    assert any(0 < entry["reward"] < 1 for entry in log)
    assert not (trained / "README.md").exists() and (trained / "chat_template.jinja").exists()


def test_the_adapter_changes_the_logits_of_its_base(trained: Path, inputs: dict[str, Path]) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    ids = torch.arange(5, 25).unsqueeze(0)
    base = AutoModelForCausalLM.from_pretrained(inputs["base"])
    before = base(ids).logits.detach()
    after = PeftModel.from_pretrained(base, trained)(ids).logits.detach()
    assert not torch.allclose(before, after)


@pytest.mark.parametrize("step", [1, 3])
def test_a_killed_training_ends_with_the_same_adapter(
    step: int, trained: Path, inputs: dict[str, Path], tmp_path: Path
) -> None:
    _, code = train(inputs, tmp_path, kill_at=step)
    assert code == -signal.SIGKILL
    half = tmp_path / "work" / "checkpoints" / "checkpoint-9"  # as a kill in the middle of a save leaves it
    half.mkdir(parents=True)
    (half / "adapter_model.safetensors").write_bytes(b"half")
    out, code = train(inputs, tmp_path)
    assert code == 0
    assert provenance.content_digest(out) == provenance.content_digest(trained)


def test_every_key_is_one_of_trls_own() -> None:
    from peft import LoraConfig
    from trl import GRPOConfig, ModelConfig

    config = grpo.Config(**SETTINGS)
    assert set(grpo.trainer_keys(config)) <= {f.name for f in dataclasses.fields(GRPOConfig)}
    assert set(grpo.LORA) <= {f.name for f in dataclasses.fields(ModelConfig)}
    assert {name.removeprefix("lora_") for name in grpo.LORA} - {"r", "alpha", "dropout", "target_modules"} == set()
    assert {"r", "lora_alpha", "lora_dropout", "target_modules"} <= {f.name for f in dataclasses.fields(LoraConfig)}
    assert set(own_fields(grpo.Config)) == set(grpo.trainer_keys(config)) | set(grpo.LORA)


def test_a_base_without_chat_template_is_one_sentence(inputs: dict[str, Path], tmp_path: Path) -> None:
    import shutil

    base = tmp_path / "base"
    shutil.copytree(inputs["base"], base)
    (base / "chat_template.jinja").unlink()
    parts = Parts(tmp_path, {"base": f"org/tiny@{SHA}"}, {}, lambda *_: None, 1, None)  # type: ignore[arg-type]
    with pytest.raises(BadInput, match="org/tiny has no chat template"):
        grpo.run(grpo.Config(**SETTINGS), inputs | {"base": base}, tmp_path / "out", parts=parts)


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ({"num_generations": 1}, "a group needs at least 2"),
        ({"num_generations": 5}, "does not divide the 16 completions .* use one of 2, 4, 8, 16"),
        ({"learning_rate": 0.0}, "learning_rate is 0.0"),
    ],
)
def test_settings_that_cannot_train_are_refused(setting: dict[str, Any], sentence: str) -> None:
    with pytest.raises(BadInput, match=sentence):
        grpo.Config(**(SETTINGS | setting))
