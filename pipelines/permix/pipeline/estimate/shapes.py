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
    """The sizes of a decoder like Llama, from its config.json."""

    layers: int
    hidden: int
    intermediate: int
    heads: int
    kv_heads: int
    head_dim: int
    vocab: int
    tied: bool

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
        return self.layers * sum(i * o for i, o in self.linear.values())

    @property
    def parameters(self) -> int:
        """All parameters without biases."""
        embeddings = self.vocab * self.hidden * (1 if self.tied else 2)
        return self.linear_parameters + embeddings + self.hidden * (2 * self.layers + 1)

    def lora_parameters(self, rank: int, modules: tuple[str, ...]) -> int:
        """Return the parameters of a LoRA adapter on `modules`."""
        return self.layers * sum(rank * sum(self.linear[m]) for m in modules if m in self.linear)

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
    "HuggingFaceTB/SmolLM2-360M-Instruct": Shape(32, 960, 2560, 15, 5, 64, 49152, True),
}
"""The bases of our recipes, the paper's teachers, and some small models; others are read from their config.json."""


def of_config(config: Mapping[str, Any]) -> Shape:
    """Return the shape in a config.json, for a multimodal model that of its text part; KeyError for another kind."""
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
    )


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
        return of_config(config)
    except KeyError as missing:
        raise BadInput(f"The config.json of {repo} has no {missing}: such a model cannot be estimated.") from None
