"""A tiny Llama with a chat template, made in under two seconds without network: for every test that needs a model."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from permix.sampling.sampler import Adapter

LORA_FILE = "adapter_model.safetensors"
TEMPLATE = (
    "{% for message in messages %}<|{{ message['role'] }}|>{% if message['role'] == 'assistant' %}"
    "{% generation %}{{ message['content'] }}<|end|>{% endgeneration %}"
    "{% else %}{{ message['content'] }}<|end|>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
SPECIAL = ["<|pad|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>"]


def make_tiny_tokenizer() -> Any:
    """A tokenizer of single bytes (256) and five special tokens; the template marks what the assistant says."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: i for i, token in enumerate(SPECIAL + letters)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=SPECIAL[0], eos_token=SPECIAL[1], extra_special_tokens=SPECIAL[2:]
    )
    fast.chat_template = TEMPLATE
    return fast


def make_tiny_model(folder: Path, *, hidden: int = 64, seed: int = 0) -> None:
    """Write a random Llama (two layers, head dimension 32, 2,048 positions) and its tokenizer into `folder`.

    The logits are spread out and the end token is likely enough that completions have many lengths.
    """
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = make_tiny_tokenizer()
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=hidden, intermediate_size=2 * hidden, num_hidden_layers=2,
        num_attention_heads=hidden // 32, num_key_value_heads=1, head_dim=32, max_position_embeddings=2048,
        tie_word_embeddings=False, initializer_range=0.15, pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id, bos_token_id=None,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = LlamaForCausalLM(config)
    with torch.no_grad():
        model.lm_head.weight[tokenizer.eos_token_id] *= 2
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def make_adapter(base: Path, folder: Path, *, seed: int, std: float = 0.1) -> Adapter:
    """Write a random LoRA of the model in `base` into `folder`."""
    import peft
    import torch
    from transformers import AutoModelForCausalLM

    model = peft.get_peft_model(
        AutoModelForCausalLM.from_pretrained(base),
        peft.LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj", "down_proj"], task_type="CAUSAL_LM"),
    )
    torch.manual_seed(seed)
    for name, weight in model.named_parameters():
        if "lora_" in name and (std or "lora_B" not in name):
            torch.nn.init.normal_(weight, std=std or 0.1)
    model.save_pretrained(folder)
    return Adapter(folder, f"digest of {folder.name}")


def adapters_without_effect(adapter: Adapter, folder: Path, *kinds: str) -> Iterator[Adapter]:
    """Copy an adapter, its weights under foreign names ("names"), half missing ("half") or zero ("dead")."""
    from safetensors.torch import load_file, save_file

    weights = load_file(adapter.path / LORA_FILE)
    changed = {
        "names": {name.replace(".model.layers.", ".model.other."): w for name, w in weights.items()},
        "half": {name: w for name, w in weights.items() if "layers.0" in name},
        "dead": {name: w * 0 if "lora_A" in name else w for name, w in weights.items()},
    }
    for kind in kinds:
        shutil.copytree(adapter.path, folder / kind)
        save_file(changed[kind], folder / kind / LORA_FILE)
        yield Adapter(folder / kind, kind)
