"""The base under the adapter: quantised or not, and what is refused before it loads."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from permix.errors import BadInput
from permix.stages import sft
from permix.training import model
from tests.support.trainings import config_of, parts_of, train


@pytest.fixture
def base(inputs: dict[str, Path], tmp_path: Path) -> Path:
    """A copy of the base, to be damaged."""
    return Path(shutil.copytree(inputs["base"], tmp_path / "base"))


def logits(folder: Path, adapter: Path | None = None) -> torch.Tensor:
    model = AutoModelForCausalLM.from_pretrained(folder)
    if adapter:
        model = PeftModel.from_pretrained(model, adapter)
    with torch.inference_mode():
        return model(torch.arange(5, 25).unsqueeze(0)).logits  # type: ignore[no-any-return]


def test_the_weights_of_the_head_are_not_copied_for_every_row(base: Path) -> None:
    loaded = model.load_base(config_of("grpo"), base).requires_grad_(False)
    embeddings = loaded.get_input_embeddings()(torch.arange(30).reshape(3, 10)).detach().requires_grad_()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        loaded(inputs_embeds=embeddings, logits_to_keep=4).logits.sum().backward()
    assert "aten::bmm" not in {event.key for event in profile.key_averages()}


QLORA = {"load_in_4bit": True, "use_bnb_nested_quant": True, "bf16": True, "max_steps": 3}


def test_qlora_trains_every_lora_matrix_and_leaves_the_4_bit_base(inputs: dict[str, Path], tmp_path: Path) -> None:
    import bitsandbytes

    trainer, _ = sft.build(config_of("sft", **QLORA), inputs, parts_of(tmp_path))
    model = trainer.model
    layers = [m for m in model.modules() if isinstance(m, bitsandbytes.nn.Linear4bit)]
    assert len(layers) == 14
    assert all(layer.weight.quant_state.nested for layer in layers)
    assert {layer.weight.quant_state.quant_type for layer in layers} == {"nf4"}
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    touched: set[str] = set()
    for name, p in model.named_parameters():
        if p.requires_grad:
            p.register_hook(lambda grad, name=name: touched.add(name) if bool(grad.any()) else None)
    trainer.train()
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    assert len(trained) == 28
    assert all("lora_" in name for name in trained)
    assert touched == trained  # A too, once B is not zero: in the last step
    for name, p in model.named_parameters():
        assert torch.equal(p, before[name]) == (name not in trained), name


def test_a_qlora_adapter_reloads_on_the_unquantised_base(inputs: dict[str, Path], tmp_path: Path) -> None:
    out, _ = train("sft", inputs, tmp_path, **QLORA)
    assert not torch.allclose(logits(inputs["base"]), logits(inputs["base"], out))


def test_grpo_runs_on_a_4_bit_base(inputs: dict[str, Path], tmp_path: Path) -> None:
    _, facts = train("grpo", inputs, tmp_path, **QLORA, beta=0.04)
    assert facts["steps"] == 3


def test_a_base_without_chat_template_is_refused(base: Path) -> None:
    (base / "chat_template.jinja").unlink()
    with pytest.raises(BadInput, match="org/tiny has no chat template: choose an instruct model"):
        model.load_tokenizer(config_of("sft"), base)


@pytest.mark.parametrize("stage", ["sft", "grpo"])
def test_an_end_token_that_pads_is_learned(stage: str, inputs: dict[str, Path], base: Path, tmp_path: Path) -> None:
    edit(base, "pad_token")
    out, facts = train(stage, inputs | {"base": base}, tmp_path, max_steps=1)
    assert facts["steps"] == 1
    assert '"pad_token": "<|end|>"' in (out / "tokenizer_config.json").read_text()
    if stage == "sft":
        trainer, _ = sft.build(config_of("sft"), inputs | {"base": base}, parts_of(tmp_path / "again"))
        batch = trainer.data_collator([trainer.train_dataset[n] for n in range(16)])
        end = trainer.processing_class.eos_token_id
        assert ((batch["labels"] == end).sum(1) == 1).all()  # of each row its own end, and no padding


def test_without_an_end_token_there_is_no_training(base: Path) -> None:
    edit(base, "pad_token", "eos_token")
    with pytest.raises(BadInput, match="tokenizer of org/tiny has no end token: add eos_token"):
        model.load_tokenizer(config_of("sft"), base)


def edit(base: Path, *without: str) -> None:
    """Take these keys out of the tokenizer's settings."""
    path = base / "tokenizer_config.json"
    settings = json.loads(path.read_text())
    path.write_text(json.dumps({k: v for k, v in settings.items() if k not in without}))


@pytest.mark.skipif(torch.cuda.is_available(), reason="says what a machine without a GPU lacks")
@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ({"optim": "paged_adamw_8bit"}, r"\[sft\] optim paged_adamw_8bit needs a GPU, and there is none: set optim ="),
        ({"fp16": True}, "fp16 needs a GPU, and there is none"),
    ],
)
def test_what_this_machine_cannot_do_is_refused(setting: dict[str, Any], sentence: str) -> None:
    with pytest.raises(BadInput, match=sentence):
        model.check_machine(config_of("sft", **setting))


def test_a_dashboard_that_is_not_installed_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(BadInput, match=r"\[sft\] report_to: trackio is not installed: pip install trackio"):
        model.check_machine(config_of("sft", report_to="trackio"))
