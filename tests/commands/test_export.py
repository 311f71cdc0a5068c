"""`permix export`: an adapter becomes a model of its own, at one commit with card and record, and stays what it was."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import ModelCard
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from permix import run_record
from permix.commands import export
from permix.errors import BadInput, PermixError
from permix.publishing.hub import Hub
from permix.stages import export as stage
from permix.stages import grpo
from tests.support import records
from tests.support.models import make_tiny_model

Publish = Callable[..., str]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A tiny base, and an adapter for it that changes what it says."""
    base, adapter = tmp_path_factory.mktemp("base"), tmp_path_factory.mktemp("adapter")
    make_tiny_model(base)
    torch.manual_seed(0)
    settings = LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj", "down_proj"], task_type="CAUSAL_LM")
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(base), settings)
    for name, weights in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weights, std=0.05)
    model.save_pretrained(adapter)
    AutoTokenizer.from_pretrained(base).save_pretrained(adapter)
    return base, adapter


@pytest.fixture
def publish(hub: Hub, folders: tuple[Path, Path], request: pytest.FixtureRequest) -> Publish:
    """Publishes base and adapter as stage grpo does; returns the adapter's name."""
    base, adapter = folders
    org = request.node.name.replace("_", "-")[:40].strip("-")

    def publish_export(**settings: Any) -> str:
        sha = hub.publish(f"{org}/tiny", base, "base", None)
        saved = json.loads((adapter / "adapter_config.json").read_text())
        saved |= {"base_model_name_or_path": f"{org}/tiny", "revision": sha}
        (adapter / "adapter_config.json").write_text(json.dumps(saved))
        (adapter / "README.md").unlink(missing_ok=True)
        config = grpo.Config(variant="rlvr", base=f"{org}/tiny", base_slug="tiny", mixture="datasets/o/m", **settings)
        records.publish(hub, "grpo", f"{org}/tiny-rlvr", adapter, config)
        return f"{org}/tiny-rlvr"

    return publish_export


def test_a_merged_model_gives_the_logits_of_base_and_adapter(
    hub: Hub, publish: Publish, folders: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = publish(load_in_4bit=True, bf16=True)
    export.export(name, merge=True, work=tmp_path / "work")
    where = capsys.readouterr().out.strip()
    head = hub.state(where)
    assert head.intact
    assert (head.repo, head.record["stage"]) == (f"{name}-merged", "export")
    folder = hub.fetch(head)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    chat = [{"role": "system", "content": "You are brief."}, {"role": "user", "content": "2 + 2?"}]
    prompt = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    base = AutoModelForCausalLM.from_pretrained(folders[0])
    with torch.inference_mode():
        plain = base(**prompt).logits
        expected = PeftModel.from_pretrained(base, folders[1]).eval()(**prompt).logits
        logits = AutoModelForCausalLM.from_pretrained(folder)(**prompt).logits
    assert torch.allclose(logits, expected, atol=1e-4)
    assert not torch.allclose(logits, plain, atol=1e-2)
    facts = head.record["facts"]
    assert facts["largest_logit_error_by_merging"] < 1e-4 < 1e-2 < facts["largest_logit_change_by_adapter"]
    assert str(tmp_path) not in (folder / "config.json").read_text()

    card = ModelCard.load(folder / "README.md")
    assert (card.data.base_model, card.data.base_model_relation) == (name.replace("-rlvr", ""), "finetune")
    assert card.data.library_name == "transformers"
    assert "trained on the base quantised to 4 bits" in card.text
    assert list(hub.tags(head.repo)) == ["v1.0.0"]

    export.export(name, merge=True, work=tmp_path / "work")
    again = capsys.readouterr()
    assert again.out.strip() == where
    assert "current" in again.err


def test_what_the_converter_says_last_is_told_when_it_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = tmp_path / "bin" / stage.CONVERTER
    tool.parent.mkdir()
    tool.write_text("#!/bin/sh\necho first >&2\necho 'NotImplementedError: BPE pre-tokenizer' >&2\nexit 1\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tool.parent), prepend=":")
    with pytest.raises(PermixError, match="could not convert the merged model: NotImplementedError: BPE pre-token"):
        stage.convert(tmp_path, tmp_path / "x.gguf", "q8_0")


def test_a_gguf_file_is_published_as_a_quantisation_of_the_adapter(
    hub: Hub, publish: Publish, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tool = tmp_path / "bin" / stage.CONVERTER
    tool.parent.mkdir()
    tool.write_text('#!/bin/sh\ntest -f "$1/model.safetensors" && test "$5" = q8_0 && printf GGUF > "$3"\n')
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tool.parent), prepend=":")
    name = publish()
    export.export(name, gguf="q8_0", work=tmp_path / "work")
    head = hub.state(capsys.readouterr().out.strip())
    assert head.repo == f"{name}-q8_0-gguf"
    content = {path for path in head.files if run_record.is_content(path)}
    assert content == {f"{name.split('/')[1]}-q8_0.gguf"}
    assert head.intact
    card = ModelCard.load(hub.download(f"{head.repo}@{head.sha}", "README.md"))
    assert (card.data.base_model, card.data.base_model_relation) == (name, "quantized")


def test_gguf_without_the_converter_names_the_tool(publish: Publish, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(BadInput, match=r"convert_hf_to_gguf\.py, which is not on the PATH: install llama\.cpp"):
        export.export("org/any", gguf="q8_0")


@pytest.mark.parametrize(("options", "sentence"), [({}, "--merge, or --gguf"), ({"gguf": "q4_k_m"}, "one of f32, f16")])
def test_what_to_make_must_be_said(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(BadInput, match=sentence):
        export.export("org/any", **options)


def test_an_adapter_that_permix_did_not_train_is_merged_into_the_base_that_it_names(
    hub: Hub, org: str, folders: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base, adapter = folders
    hub.publish(f"{org[:40]}/tiny", base, "base", None)
    shutil.copytree(
        adapter, tmp_path / "lora", ignore=shutil.ignore_patterns("*token*", "*.jinja", "README.md", "run.json")
    )
    saved = json.loads((adapter / "adapter_config.json").read_text())

    def publish_naming(name: str) -> str:
        config = saved | {"base_model_name_or_path": name, "revision": None}
        (tmp_path / "lora" / "adapter_config.json").write_text(json.dumps(config))
        hub.publish(f"{org[:40]}/lora", tmp_path / "lora", "adapter", None)
        return f"{org[:40]}/lora"

    export.export(publish_naming(f"{org[:40]}/tiny"), merge=True, work=tmp_path / "work")
    folder = hub.fetch(hub.state(capsys.readouterr().out.strip()))
    assert AutoTokenizer.from_pretrained(folder).chat_template
    assert "variant" not in (folder / "README.md").read_text().split("## Use")[0]
    for name, sentence in (("/home/me/model", "names the base '/home/me/model': set"), ("org/no", "hub import FOLDER")):
        with pytest.raises(BadInput, match=sentence):
            export.export(publish_naming(name), merge=True, work=tmp_path / "work")


def test_differences_are_those_of_the_weights_and_not_of_16_bit_arithmetic(
    folders: tuple[Path, Path], tmp_path: Path
) -> None:
    base, adapter = folders
    AutoModelForCausalLM.from_pretrained(base, dtype="bfloat16").save_pretrained(tmp_path / "base")
    AutoTokenizer.from_pretrained(base).save_pretrained(tmp_path / "base")
    facts = stage.merge(tmp_path / "base", adapter, tmp_path / "out")
    prompt = AutoTokenizer.from_pretrained(base)(stage.CHECK, return_tensors="pt", add_special_tokens=False)
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "base", dtype="float32")
    with torch.inference_mode():
        plain = model(prompt["input_ids"]).logits
        change = (PeftModel.from_pretrained(model, adapter).eval()(prompt["input_ids"]).logits - plain).abs().max()
    assert facts["largest_logit_change_by_adapter"] == pytest.approx(float(change), rel=1e-4)
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype="auto").dtype == torch.bfloat16


def test_only_adapters_are_exported(hub: Hub, publish: Publish, folders: tuple[Path, Path], tmp_path: Path) -> None:
    name = publish()
    with pytest.raises(BadInput, match=r"holds no adapter_config\.json"):
        export.export(name.replace("-rlvr", ""), merge=True, work=tmp_path / "work")


def test_an_adapter_of_other_layers_than_its_base_is_refused(folders: tuple[Path, Path], tmp_path: Path) -> None:
    base, adapter = folders
    strange = tmp_path / "adapter"
    strange.mkdir()
    for path in adapter.iterdir():
        (strange / path.name).write_bytes(path.read_bytes())
    weights = load_file(adapter / "adapter_model.safetensors")
    moved = {name.replace("layers.", "blocks."): tensor for name, tensor in weights.items()}
    save_file(moved, strange / "adapter_model.safetensors", metadata={"format": "pt"})
    with pytest.warns(UserWarning, match="missing adapter keys"), pytest.raises(PermixError, match="do not fit"):
        stage.merge(base, strange, tmp_path / "out")
