"""The shapes of models, which decide memory and time and are known without the weights."""

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from permix.errors import BadInput

if TYPE_CHECKING:
    from permix.publishing.hub import Hub


@dataclass(frozen=True)
class Shape:
    """The sizes of a decoder like Llama, from its config.json.

    A mixture of experts has `sparse_layers`, each with `experts` of the size `expert` beside a shared part of the size
    `shared`; a token passes through `active` of the experts. `counted` is the Hub's number of parameters, 0 if unknown.
    """

    layers: int
    hidden: int
    intermediate: int
    heads: int
    kv_heads: int
    head_dim: int
    vocab: int
    tied: bool
    sparse_layers: int = 0
    experts: int = 0
    active: int = 0
    expert: int = 0
    shared: int = 0
    counted: int = 0

    @property
    def linear(self) -> dict[str, tuple[int, int]]:
        """(in, out) of the seven matrices of one layer, by their names in LoRA's target_modules."""
        queries, keys = self.heads * self.head_dim, self.kv_heads * self.head_dim
        return {
            "q_proj": (self.hidden, queries),
            "k_proj": (self.hidden, keys),
            "v_proj": (self.hidden, keys),
            "o_proj": (queries, self.hidden),
            "gate_proj": (self.hidden, self.intermediate),
            "up_proj": (self.hidden, self.intermediate),
            "down_proj": (self.intermediate, self.hidden),
        }

    @property
    def linear_parameters(self) -> int:
        """The parameters that bitsandbytes quantises: the matrices of all layers, without embeddings."""
        dense = self.layers * sum(i * o for i, o in self.linear.values())
        sparse = 3 * (self.experts * self.expert + self.shared - self.intermediate) + self.experts
        return dense + self.sparse_layers * self.hidden * sparse

    @property
    def parameters(self) -> int:
        """All parameters: those that the Hub counted, or those of the sizes, without biases."""
        if self.counted:
            return self.counted
        embeddings = self.vocab * self.hidden * (1 if self.tied else 2)
        return self.linear_parameters + embeddings + self.hidden * (2 * self.layers + 1)

    @property
    def active_parameters(self) -> int:
        """The parameters that compute one token: all but the experts that it does not pass through."""
        return self.parameters - self.sparse_layers * 3 * self.hidden * self.expert * (self.experts - self.active)

    def lora_parameters(self, rank: int, modules: tuple[str, ...]) -> int:
        """Return the parameters of a LoRA adapter on `modules`; PEFT adapts no experts, which are not modules."""
        dense = self.layers - self.sparse_layers
        layers = {
            name: self.layers if name.endswith(("q_proj", "k_proj", "v_proj", "o_proj")) else dense for name in modules
        }
        return sum(layers[m] * rank * sum(self.linear[m]) for m in modules if m in self.linear)

    @property
    def cache_bytes(self) -> int:
        """The bytes of one token in the key-value cache, in 16 bits."""
        return 2 * 2 * self.layers * self.kv_heads * self.head_dim


KNOWN = {
    "meta-llama/Llama-3.1-8B-Instruct": Shape(32, 4096, 14336, 32, 8, 128, 128256, False),
    "meta-llama/Llama-3.1-70B-Instruct": Shape(80, 8192, 28672, 64, 8, 128, 128256, False),
    "meta-llama/Llama-3.2-1B-Instruct": Shape(16, 2048, 8192, 32, 8, 64, 128256, True),
    "meta-llama/Llama-3.2-3B-Instruct": Shape(28, 3072, 8192, 24, 8, 128, 128256, True),
    "meta-llama/Llama-3.3-70B-Instruct": Shape(80, 8192, 28672, 64, 8, 128, 128256, False),
    "Qwen/Qwen2.5-0.5B-Instruct": Shape(24, 896, 4864, 14, 2, 64, 151936, True),
    "Qwen/Qwen2.5-1.5B-Instruct": Shape(28, 1536, 8960, 12, 2, 128, 151936, True),
    "Qwen/Qwen3-0.6B": Shape(28, 1024, 3072, 16, 8, 128, 151936, True),
    "Qwen/Qwen3-1.7B": Shape(28, 2048, 6144, 16, 8, 128, 151936, True),
    "Qwen/Qwen3-4B": Shape(36, 2560, 9728, 32, 8, 128, 151936, True),
    "Qwen/Qwen3-8B": Shape(36, 4096, 12288, 32, 8, 128, 151936, False),
    "Qwen/Qwen3-32B": Shape(64, 5120, 25600, 64, 8, 128, 151936, False),
    "google/gemma-3-1b-it": Shape(26, 1152, 6912, 4, 1, 256, 262144, True),
    "google/gemma-3-4b-it": Shape(34, 2560, 10240, 8, 4, 256, 262208, True),
    "google/gemma-3-12b-it": Shape(48, 3840, 15360, 16, 8, 256, 262208, True),
    "google/gemma-3-27b-it": Shape(62, 5376, 21504, 32, 16, 128, 262208, True),
    **dict.fromkeys(
        [f"allenai/Llama-3.1-Tulu-3-8B{stage}" for stage in ("-SFT", "-DPO", "")],
        Shape(32, 4096, 14336, 32, 8, 128, 128264, False),
    ),
    **dict.fromkeys(
        [f"allenai/OLMo-2-0425-1B-{stage}" for stage in ("SFT", "DPO", "RLVR1", "Instruct")],
        Shape(16, 2048, 8192, 16, 16, 128, 100352, False),
    ),
    **dict.fromkeys(
        [f"allenai/OLMo-2-1124-7B-{stage}" for stage in ("SFT", "DPO", "Instruct")],
        Shape(32, 4096, 11008, 32, 32, 128, 100352, False),
    ),
    "HuggingFaceTB/SmolLM2-135M-Instruct": Shape(30, 576, 1536, 9, 3, 64, 49152, True),
    "HuggingFaceTB/SmolLM2-360M-Instruct": Shape(32, 960, 2560, 15, 5, 64, 49152, True),
    "Qwen/Qwen2.5-Coder-0.5B-Instruct": Shape(24, 896, 4864, 14, 2, 64, 151936, True),
    "Qwen/Qwen2.5-Coder-1.5B-Instruct": Shape(28, 1536, 8960, 12, 2, 128, 151936, True),
}
"""The bases of our recipes, the paper's teachers, and some small models; others are read from their config.json."""


def of_config(config: Mapping[str, Any], counted: int = 0) -> Shape:
    """Return the shape in a config.json, for a multimodal model that of its text part; KeyError for another kind.

    `counted` is the number of parameters by the Hub, 0 if it is unknown.
    """
    text = config.get("text_config", config)
    heads = text["num_attention_heads"]
    return Shape(
        layers=text["num_hidden_layers"],
        hidden=text["hidden_size"],
        intermediate=text["intermediate_size"],
        heads=heads,
        kv_heads=text.get("num_key_value_heads") or heads,
        head_dim=text.get("head_dim") or text["hidden_size"] // heads,
        vocab=text["vocab_size"],
        tied=bool(text.get("tie_word_embeddings", config.get("tie_word_embeddings", True))),
        counted=counted,
        **_experts(text),
    )


def _experts(text: Mapping[str, Any]) -> dict[str, int]:
    """Return the sizes of a mixture of experts, {} for a dense model; KeyError for an unknown kind."""
    if text.get("enable_moe_block") is False:  # a dense Gemma 4
        return {}
    names = ("num_experts", "num_local_experts", "n_routed_experts")
    experts = next((text[name] for name in names if text.get(name)), 0)
    if not experts:
        if any("expert" in name and size for name, size in text.items()):
            raise KeyError(names[0])
        return {}
    if not (active := next((text[name] for name in _ACTIVE if text.get(name)), 0)):
        raise KeyError(_ACTIVE[0])
    size = text.get("moe_intermediate_size") or text["intermediate_size"]
    shared = text.get("shared_expert_intermediate_size") or text.get("shared_intermediate_size")
    shared = shared or (text.get("n_shared_experts") or 0) * size
    if text.get("enable_moe_block"):  # Gemma 4 adds the experts to the dense part
        shared = text["intermediate_size"]
    return {"sparse_layers": _sparse(text), "experts": experts, "active": active, "expert": size, "shared": shared}


def _sparse(text: Mapping[str, Any]) -> int:
    """Return the number of layers with experts."""
    layers, first, dense = (
        text["num_hidden_layers"],
        text.get("first_k_dense_replace") or 0,
        text.get("mlp_only_layers"),
    )
    step = text.get("moe_layer_freq") or 1
    if isinstance(step, list):  # 1 for a layer with experts
        return sum(map(bool, step))
    if "moe_layer_freq" in text:
        return sum(number % step == 0 for number in range(first, layers))
    step = text.get("decoder_sparse_step") or text.get("interleave_moe_layer_step") or 1
    return sum((number + 1) % step == 0 and number not in (dense or ()) for number in range(first, layers))


_ACTIVE = ("num_experts_per_tok", "experts_per_token", "top_k_experts")


@functools.cache
def find(repo: str, hub: str | None) -> Shape:
    """Return the shape of a model, from the table or from the Hub at this address."""
    from permix.publishing import hub as hubs

    return KNOWN.get(repo.partition("@")[0]) or on(hubs.connect(hub), repo)


def on(hub: "Hub", repo: str) -> Shape:
    """Return the shape of a model, from the table or its config.json on the Hub; BadInput if both lack it."""
    if (known := KNOWN.get(repo.partition("@")[0])) is not None:
        return known
    state = hub.state(repo)
    if state is None or "config.json" not in state.files:
        raise BadInput(
            f"The size of {repo} is not in permix's table, and {hub.endpoint} has no config.json of it: "
            "say --hub https://huggingface.co."
        )
    config = json.loads(hub.download(f"{state.repo}@{state.sha}", "config.json").read_text(encoding="utf-8"))
    try:
        return of_config(config, hub.parameters(f"{state.repo}@{state.sha}"))
    except KeyError as missing:
        raise BadInput(f"The config.json of {repo} has no {missing}: such a model cannot be estimated.") from None
