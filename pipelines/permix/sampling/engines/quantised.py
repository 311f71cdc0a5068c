"""A base with its linear layers in 4 bits: what QLoRA trains over, and what its adapters can be measured on."""

import importlib.util
from pathlib import Path
from typing import Any

import torch

from permix.errors import BadInput

NF4 = {"nf4": False, "nf4-nested": True}
"""An engine's dtypes in 4 bits, and whether the scales are quantised too ("double quantisation")."""


def load_in_4bit(folder: Path, device: torch.device, *, kind: str, nested: bool) -> Any:
    """The causal LM in `folder` on `device`; `kind` is nf4 or fp4. What is not quantised, and computing, is bfloat16.

    Source: arXiv 2305.14314.
    """
    from bitsandbytes.nn import Linear4bit
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    quantisation = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type=kind,
        bnb_4bit_use_double_quant=nested,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )
    model = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.bfloat16, quantization_config=quantisation, device_map={"": device}
    )
    for module in model.modules():
        if isinstance(module, Linear4bit):
            # On a CPU with AVX512-BF16 the first prompt would pack the weights: coarser scales than in training, no
            # gradients through them, and after a state_dict() the scales of other rows.
            module.support_avx512bf16_for_cpu = False
    return model


def refuse_without_bitsandbytes(what: str) -> None:
    """Raise BadInput for `what` where bitsandbytes is not installed."""
    if importlib.util.find_spec("bitsandbytes") is None:
        raise BadInput(f"{what} needs bitsandbytes, not installed here: pip install 'permix[train]'.")
