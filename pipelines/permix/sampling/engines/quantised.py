"""A base with its linear layers in 4 bits, to train and to measure QLoRA adapters on."""

import importlib.util
from pathlib import Path
from typing import Any

import torch

from permix.errors import BadInput

NF4 = {"nf4": False, "nf4-nested": True}
"""The 4-bit dtypes of an engine, and whether the scales are quantised too ("double quantisation")."""


def load_in_4bit(folder: Path, device: torch.device, *, kind: str, nested: bool) -> Any:
    """Return the causal LM in `folder` on `device`; `kind` is nf4 or fp4. Everything else computes in bfloat16.

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
            # On a CPU with AVX512-BF16 the first prompt would repack the weights: with coarser scales than in
            # training, without gradients, and after a state_dict() with the scales of other rows.
            module.support_avx512bf16_for_cpu = False
    return model


def refuse_without_bitsandbytes(feature: str) -> None:
    """Raise BadInput for `feature` where bitsandbytes is not installed."""
    if importlib.util.find_spec("bitsandbytes") is None:
        raise BadInput(f"{feature} needs bitsandbytes, not installed here: pip install 'permix[train]'.")
