"""The shapes of models: their parameters are those of the models."""

import json
from pathlib import Path

import pytest
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from permix.errors import BadInput
from permix.pipeline.estimate import shapes
from permix.publishing import hub as hubs
from tests.support.cases import cases
from tests.support.hubs import embedded
from tests.support.models import make_tiny_model

CASES = cases(__file__)
PRINTED = dict(CASES["printed"])
"""As the model cards print them, in billions."""
QWEN3_30B = CASES["configs"]["QWEN3_30B"]


@pytest.mark.parametrize("name", PRINTED)
def test_parameters_are_those_that_the_card_prints(name: str) -> None:
    assert shapes.KNOWN[name].parameters / 1e9 == pytest.approx(PRINTED[name], rel=0.01)


def test_a_shape_counts_what_torch_and_peft_count(tmp_path: Path) -> None:
    make_tiny_model(tmp_path)
    shape = shapes.of_config(json.loads((tmp_path / "config.json").read_text()))
    model = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert shape.parameters == sum(p.numel() for p in model.parameters())
    modules = ("q_proj", "k_proj", "down_proj")
    adapted = get_peft_model(model, LoraConfig(r=3, target_modules=list(modules), task_type="CAUSAL_LM"))
    assert shape.lora_parameters(3, modules) == sum(p.numel() for p in adapted.parameters() if p.requires_grad)


@pytest.mark.parametrize(
    ("name", "total", "active"), [("QWEN3_30B", 30.5, 3.3), ("QWEN2_57B", 57.4, 14.2), ("MIXTRAL", 46.7, 12.9)]
)
def test_a_mixture_of_experts_has_all_parameters_and_computes_with_some(name: str, total: float, active: float) -> None:
    config = CASES["configs"][name]
    shape = shapes.of_config(config)
    assert shape.parameters / 1e9 == pytest.approx(total, rel=0.01)
    assert shape.active_parameters / 1e9 == pytest.approx(active, rel=0.02)
    counted = shapes.of_config(config, 31 * 10**9)
    assert counted.parameters == 31 * 10**9
    assert counted.parameters - counted.active_parameters == shape.parameters - shape.active_parameters


@pytest.mark.parametrize(
    ("settings", "sparse"),
    [
        ({"decoder_sparse_step": 2, "mlp_only_layers": [1]}, 23),
        ({"moe_layer_freq": [0] + [1] * 47}, 47),
        ({"moe_layer_freq": 1, "first_k_dense_replace": 3}, 45),
        ({"enable_moe_block": False}, 0),
    ],
)
def test_layers_between_those_of_experts_are_dense(settings: dict[str, object], sparse: int) -> None:
    assert shapes.of_config(QWEN3_30B | settings).sparse_layers == sparse


@pytest.mark.parametrize("missing", ["num_experts", "num_experts_per_tok"])
def test_an_unknown_kind_of_experts_is_not_estimated_as_dense(missing: str) -> None:
    with pytest.raises(KeyError, match=missing):
        shapes.of_config({key: size for key, size in QWEN3_30B.items() if key != missing})


def test_the_text_part_of_a_model_that_sees_counts() -> None:
    text = {"num_hidden_layers": 2, "hidden_size": 64, "intermediate_size": 128, "num_attention_heads": 4}
    shape = shapes.of_config({"text_config": text | {"vocab_size": 100, "num_key_value_heads": 2}})
    assert (shape.layers, shape.head_dim, shape.kv_heads, shape.tied) == (2, 16, 2, True)


def test_another_base_is_looked_up_on_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub = embedded(tmp_path / "cache")
    monkeypatch.setattr(hubs, "connect", lambda url: hub)
    make_tiny_model(tmp_path / "model")
    hub.publish("shape-tests/tiny", tmp_path / "model", "base", None)
    assert shapes.find("shape-tests/tiny", None).hidden == 64
    with pytest.raises(BadInput, match=r"size of shape-tests/none is not in permix's table.*--hub https://hugg"):
        shapes.find("shape-tests/none", None)
    (tmp_path / "model" / "config.json").write_text('{"model_type": "mamba"}')
    hub.publish("shape-tests/strange", tmp_path / "model", "base", None)
    with pytest.raises(BadInput, match=r"config\.json of shape-tests/strange has no 'num_attention_heads'"):
        shapes.find("shape-tests/strange", None)
