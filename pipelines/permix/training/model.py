"""Load the base of a training, after the machine and the tokenizer are checked."""

import importlib.util
from pathlib import Path
from typing import Any

from permix.errors import BadInput
from permix.sampling.engines.memory import refuse_too_large
from permix.sampling.engines.quantised import load_in_4bit, refuse_without_bitsandbytes
from permix.training.settings import TrainerConfig

SMALLER = {"bfloat16": "bf16 = true", "nf4": "load_in_4bit = true"}
"""{smaller dtype: how the settings of a training ask for it}."""


def check_machine(config: TrainerConfig) -> None:
    """Raise BadInput for settings that this machine does not support."""
    import torch

    table, gpus = config.TABLE, torch.cuda.device_count()
    config.check_gpu(gpus)
    if config.load_in_4bit or config.optim.endswith("_8bit"):
        refuse_without_bitsandbytes(f"[{table}] {'load_in_4bit' if config.load_in_4bit else 'optim'}")
    if config.bf16 and gpus and not torch.cuda.is_bf16_supported(including_emulation=False):
        raise BadInput(f"[{table}] bf16: {torch.cuda.get_device_name()} does not support it; set fp16 = true instead.")
    if config.report_to != "none" and importlib.util.find_spec(config.report_to) is None:
        raise BadInput(f"[{table}] report_to: {config.report_to} is not installed: pip install {config.report_to}.")


def load_tokenizer(config: TrainerConfig, folder: Path) -> Any:
    """Return the base's tokenizer; BadInput without chat template or end token.

    The end token also pads if the tokenizer lacks a pad token: both trainers mask padding by position, so the end of a
    completion is still learned (as in TRL).
    """
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    if tokenizer.chat_template is None:
        raise BadInput(f"{config.base} has no chat template: choose an instruct model or add one to its tokenizer.")
    if tokenizer.eos_token is None:
        raise BadInput(f"The tokenizer of {config.base} has no end token: add eos_token to tokenizer_config.json.")
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def load_base(config: TrainerConfig, folder: Path) -> Any:
    """Return the base model in the dtype of the training, in 4 bits for QLoRA (B.2); BadInput if it is too large."""
    import torch
    from transformers import AutoModelForCausalLM

    name = "nf4" if config.load_in_4bit else "bfloat16" if config.bf16 else "float16" if config.fp16 else "float32"
    cuda = torch.cuda.is_available()
    refuse_too_large(config.base, folder, name, cuda=cuda, settings=SMALLER, otherwise="more memory")
    if config.load_in_4bit:
        from accelerate import PartialState

        device = PartialState(cpu=not cuda).device  # every process quantises onto its own device
        model = load_in_4bit(folder, device, kind=config.bnb_4bit_quant_type, nested=config.use_bnb_nested_quant)
    else:
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, name))
    # The head gets a slice, the completion's positions, for which torch would copy the head's weights for each row.
    model.get_output_embeddings().register_forward_pre_hook(lambda _, inputs: (inputs[0].contiguous(),))
    return model


def lora(config: TrainerConfig) -> Any:
    """Return peft's config of the adapter."""
    from peft import LoraConfig

    return LoraConfig(
        r=config.lora_r,
        lora_alpha=config.lora_alpha,
        lora_dropout=config.lora_dropout,
        target_modules=list(config.lora_target_modules),
        task_type="CAUSAL_LM",
    )
