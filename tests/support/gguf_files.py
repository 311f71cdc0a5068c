"""GGUF files of the tiny Llama, written as llama.cpp's converter does, whole or with a fault."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

TEMPLATE = "{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}<|end|>{% endfor %}"
LAYER = {
    "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down", "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm",
}  # fmt: skip
OUTSIDE = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}


def write_gguf(
    base: Path, path: Path, *, types: Mapping[str, str] | None = None, metadata: Mapping[str, Any] | None = None,
    template: str = TEMPLATE, tokenizer: bool = True, architecture: str = "llama", tied: bool = False,
    factors: Any = None,
) -> Path:  # fmt: skip
    """Write the Llama in `base` to `path` and return it.

    `types` is {GGUF's name of a tensor without layer: quantisation}, else F32; `metadata` is added (texts and numbers).
    With `tied` the head is a second rounding of the embedding; `factors` are those of a scaled rope.
    """
    import gguf
    import numpy as np
    from safetensors.numpy import load_file
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(base)
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_vocab_size(config.vocab_size)
    if tokenizer:
        _add_tokenizer(writer, base, template)
    for key, value in (metadata or {}).items():
        (writer.add_string if isinstance(value, str) else writer.add_uint32)(key, value)
    weights = load_file(base / "model.safetensors")
    if tied:
        weights["lm_head.weight"] = weights["model.embed_tokens.weight"]
    for name, weight in weights.items():
        if name.endswith(("q_proj.weight", "k_proj.weight")):
            pairs = weight.reshape(-1, 2, config.head_dim // 2, weight.shape[1])
            weight = pairs.swapaxes(1, 2).reshape(weight.shape)
        kind = gguf.GGMLQuantizationType[(types or {}).get(_plain(name), "F32")]
        writer.add_tensor(
            f"{_gguf_name(name)}.weight", gguf.quantize(np.ascontiguousarray(weight), kind), raw_dtype=kind
        )
    if factors is not None:
        writer.add_tensor("rope_freqs.weight", np.asarray(factors, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _gguf_name(name: str) -> str:
    module = name.removesuffix(".weight")
    if module in OUTSIDE:
        return OUTSIDE[module]
    _, _, layer, part = module.split(".", 3)
    return f"blk.{layer}.{LAYER[part]}"


def _plain(name: str) -> str:
    return _gguf_name(name).rpartition(".")[2]


def _add_tokenizer(writer: Any, base: Path, template: str) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(base)
    tokens = tokenizer.convert_ids_to_tokens(range(len(tokenizer)))
    control = set(tokenizer.all_special_tokens)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(tokens)
    writer.add_token_scores([0.0] * len(tokens))
    writer.add_token_types([3 if token in control else 1 for token in tokens])
    writer.add_eos_token_id(tokenizer.eos_token_id)
    writer.add_pad_token_id(tokenizer.pad_token_id)
    if template:
        writer.add_chat_template(template)
