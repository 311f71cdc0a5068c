"""Write a transformers folder of Qwen2's architecture as a GGUF file in 16 bits, for llama.cpp."""

import json
from pathlib import Path
from typing import Any

import gguf
import torch
import transformers
from safetensors.torch import load_file


def write(folder: Path, path: Path) -> None:
    """Write the model in `folder` to `path`: matrices in bfloat16, vectors in float32, a tied head omitted."""
    config = transformers.AutoConfig.from_pretrained(folder)
    writer = gguf.GGUFWriter(path, "qwen2")
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_BF16)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    _add_tokenizer(writer, transformers.AutoTokenizer.from_pretrained(folder), config.vocab_size)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.QWEN2, config.num_hidden_layers)
    for file in sorted(folder.glob("*.safetensors")):
        for name, tensor in load_file(file).items():
            if name == "lm_head.weight" and config.tie_word_embeddings:
                continue
            new_name = names.get_name(name, try_suffixes=(".weight", ".bias"))
            if tensor.dim() == 1:
                writer.add_tensor(new_name, tensor.float().numpy())
            else:
                pairs = tensor.to(torch.bfloat16).view(torch.uint8).numpy()  # numpy has no bfloat16
                writer.add_tensor(new_name, pairs, raw_dtype=gguf.GGMLQuantizationType.BF16)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _add_tokenizer(writer: gguf.GGUFWriter, tokenizer: Any, size: int) -> None:
    """Add the byte-level BPE tokenizer and its chat template; ids without a token are padding."""
    fields = json.loads(tokenizer.backend_tokenizer.to_str())
    tokens = {number: f"[PAD{number}]" for number in range(size)}
    types = dict.fromkeys(tokens, gguf.TokenType.UNUSED)
    for token, number in fields["model"]["vocab"].items():
        tokens[number], types[number] = token, gguf.TokenType.NORMAL
    for token in fields["added_tokens"]:
        kind = gguf.TokenType.CONTROL if token["special"] else gguf.TokenType.USER_DEFINED
        tokens[token["id"]], types[token["id"]] = token["content"], kind
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(list(tokens.values()))
    writer.add_token_types(list(types.values()))
    writer.add_token_merges([" ".join(pair) for pair in fields["model"]["merges"]])
    writer.add_eos_token_id(tokenizer.eos_token_id)
    writer.add_pad_token_id(tokenizer.pad_token_id)
    writer.add_add_bos_token(False)
    writer.add_chat_template(tokenizer.chat_template)
