"""Adapters that change their base, that are broken, or that are not LoRA: one after the other in one engine."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from permix.errors import BadInput, PermixError
from permix.sampling.engines import open_engine
from permix.sampling.engines.adapters import Adapters
from permix.sampling.engines.vllm_sampler import _refuse_unservable
from permix.sampling.sampler import Adapter, Engine
from tests.support.models import LORA_FILE, make_tiny_model
from tests.support.sampling import requests

LORA: dict[str, Any] = {"r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "v_proj"], "task_type": "CAUSAL_LM"}
LOADED = {
    "plain": {},
    "head": {"target_modules": ["q_proj", "lm_head"]},
    "saved head": {"modules_to_save": ["lm_head"]},
    "dora": {"use_dora": True},
    "pissa": {"init_lora_weights": "pissa"},
    "olora": {"init_lora_weights": "olora"},
    "tokens": {"trainable_token_indices": [5, 6]},
    "parameters": {"target_modules": [], "target_parameters": ["mlp.down_proj.weight"]},
}
REFUSED = {
    "ia3": "has the type IA3, but only LoRA adapters",
    "prompts": "has the type PROMPT_TUNING, but only LoRA adapters",
    "nan": "holds weights that are not finite",
    "infinite": "holds weights that are not finite",
    "marked": r"peft cannot read .*adapter_config.json .*BOM.*: save it as JSON in UTF-8, without a mark",
    "torn": r"peft cannot read .*adapter_config.json",
    "typed wrongly": "does not load into the base",
    "cut": "cannot be read",
    "elsewhere": "does not fit the base",
    "half": "has no effect on 2 of its 8 tensors",
}


def digest(model: Any) -> str:
    """A checksum of the base's own weights."""
    weights = {name.replace(".base_layer", ""): p for name, p in model.named_parameters() if "lora_" not in name}
    combined = hashlib.sha256()
    for name, weight in sorted(weights.items()):
        combined.update(name.encode() + weight.detach().contiguous().view(torch.uint8).numpy().tobytes())
    return combined.hexdigest()


def save(base: Path, folder: Path, config: Any) -> None:
    torch.manual_seed(len(folder.name))
    model = peft.get_peft_model(AutoModelForCausalLM.from_pretrained(base), config)
    for name, weight in model.named_parameters():
        if "lora_B" in name or (weight.requires_grad and "lora_" not in name):
            weight.data.add_(torch.randn_like(weight) * 0.1)
    model.save_pretrained(folder, save_embedding_layers=folder.name == "head")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("models")
    base = root / "base"
    make_tiny_model(base)
    for name, more in LOADED.items():
        save(base, root / name, peft.LoraConfig(**LORA | more))
    save(base, root / "ia3", peft.IA3Config(target_modules=["k_proj"], feedforward_modules=[], task_type="CAUSAL_LM"))
    save(base, root / "prompts", peft.PromptTuningConfig(num_virtual_tokens=4, task_type="CAUSAL_LM"))
    broken = ("nan", "infinite", "marked", "torn", "typed wrongly", "cut", "elsewhere", "half")
    for name in broken:
        shutil.copytree(root / "plain", root / name)
    weights = load_file(root / "plain" / LORA_FILE)
    first = min(weights)
    save_file(weights | {first: weights[first] * float("nan")}, root / "nan" / LORA_FILE)
    save_file(weights | {first: weights[first] + float("inf")}, root / "infinite" / LORA_FILE)
    save_file({n: w for n, w in weights.items() if "layers.0.self_attn.q" not in n}, root / "half" / LORA_FILE)
    (root / "cut" / LORA_FILE).write_bytes((root / "plain" / LORA_FILE).read_bytes()[:200])
    text = (root / "plain" / "adapter_config.json").read_text()
    config = json.loads(text)
    texts = {"marked": "\ufeff" + text, "torn": text[:50], "typed wrongly": json.dumps(config | {"r": "four"})}
    texts["elsewhere"] = json.dumps(config | {"target_modules": ["c_attn"]})
    for name, changed in texts.items():
        (root / name / "adapter_config.json").write_text(changed, encoding="utf-8")
    return root


def answer(engine: Any, root: Path, name: str, temperature: float = 0.0) -> list[str] | str:
    """The completions of the adapter `name` ("base": none), or the sentence that refuses it."""
    adapter = None if name == "base" else Adapter(root / name, name)
    batch = requests(3, max_tokens=12, temperature=temperature, adapter=adapter)
    try:
        return [completion.text for completion in engine.sample(batch)]
    except PermixError as error:
        return str(error)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16", "nf4"])
def test_every_adapter_answers_as_it_does_alone_and_the_base_never_changes(root: Path, dtype: str) -> None:
    names = ["base", *LOADED, *REFUSED]
    alone = {name: answer(open_engine(Engine(root / "base", dtype=dtype)), root, name) for name in names}
    if dtype != "nf4":  # some do not load onto 4 bits, with a sentence
        assert [name for name, texts in alone.items() if isinstance(texts, str)] == list(REFUSED)
    engine: Any = open_engine(Engine(root / "base", dtype=dtype))
    before = digest(engine._base)
    mended = [name for broken in REFUSED for name in (broken, "plain", "base", "head")]
    for name in [*names, *reversed(names), *mended]:
        assert answer(engine, root, name) == alone[name]
        assert digest(engine._base) == before


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_broken_adapter_is_one_sentence(root: Path, name: str, temperature: float, dtype: str) -> None:
    engine = open_engine(Engine(root / "base", dtype=dtype))
    with pytest.raises(PermixError, match=REFUSED[name]):
        list(engine.sample(requests(1, temperature=temperature, adapter=Adapter(root / name, name))))


def test_a_broken_adapter_is_refused_before_any_other_is_sampled(root: Path) -> None:
    engine = open_engine(Engine(root / "base"))
    batch = [*requests(2), *requests(1, adapter=Adapter(root / "nan", "nan"))]
    with pytest.raises(BadInput, match="not finite"):
        engine.sample(batch)


@pytest.mark.parametrize(
    ("name", "setting"),
    [
        ("pissa", 'init_lora_weights = "pissa"'),
        ("olora", 'init_lora_weights = "olora"'),
        ("saved head", 'modules_to_save = ["lm_head"]'),
        ("dora", "use_dora"),
        ("tokens", "trainable_token_indices = [5, 6]"),
        ("head", "the tensor base_model.model.lm_head.base_layer.weight"),
    ],
)
def test_vllm_refuses_what_it_ignores(root: Path, name: str, setting: str) -> None:
    adapter = Adapter(root / name, name)
    unusual = Adapters(None, "base").check(adapter)
    with pytest.raises(BadInput, match="which vLLM ignores: use the transformers back end") as refused:
        _refuse_unservable(adapter, 16, unusual)
    assert f"has {setting}, which" in str(refused.value)
    _refuse_unservable(Adapter(root / "plain", "plain"), 16, Adapters(None, "base").check(Adapter(root / "plain", "p")))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_warnings_of_peft_are_notes(root: Path, tmp_path: Path, dtype: str) -> None:
    folder = shutil.copytree(root / "plain", tmp_path / "newer")
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps(config | {"of_tomorrow": 1}))
    engine = open_engine(Engine(root / "base", dtype=dtype))
    newer, plain = Adapter(folder, "newer"), Adapter(root / "plain", "plain")
    list(engine.sample([*requests(1, adapter=newer)]))
    list(engine.sample([*requests(1, adapter=plain)]))
    (note,) = engine.facts(requests(1)[0].messages, newer)["notes"]
    assert note.startswith(f"peft warns of the adapter {folder}: Unexpected keyword arguments ['of_tomorrow']")
    assert engine.facts(requests(1)[0].messages, plain) == engine.facts(requests(1)[0].messages, None) == {}


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_base_that_is_not_finite_is_one_sentence(root: Path, tmp_path: Path, temperature: float) -> None:
    shutil.copytree(root / "base", tmp_path / "base")
    weights = load_file(tmp_path / "base" / "model.safetensors")
    weights["lm_head.weight"][7] = float("nan")
    save_file(weights, tmp_path / "base" / "model.safetensors", metadata={"format": "pt"})
    engine = open_engine(Engine(tmp_path / "base"))
    with pytest.raises(PermixError, match="gives logits that are infinite or NaN in float32: use another dtype"):
        list(engine.sample(requests(1, temperature=temperature)))
    with pytest.raises(PermixError, match="gives logits that are infinite or NaN"):
        list(engine.stream(requests(1, temperature=temperature)[0]))
