"""The variants: rows of the paper's Tables 2 and 3, each a way to post-train one base model (section 4.1)."""

from dataclasses import dataclass
from typing import Literal

from permix.errors import BadInput, nearest

TEACHERS = {"qwen3-32b": "Qwen3-32B", "llama3.1-70b": "Llama3.1-70B", "gemma3-27b": "Gemma3-27B", "toy": "toy teacher"}


@dataclass(frozen=True)
class Variant:
    """One row: the trainer, whether a persona is in the training prompt, and what the target is.

    `target` is the SFT target (`gold`, `styled`: the gold rewritten in the persona's style, `teacher`) or the reward.
    """

    name: str
    title: str
    trainer: Literal["none", "sft", "grpo"]
    persona: bool = False
    target: Literal["", "gold", "styled", "teacher", "verifier"] = ""
    teacher: str = ""


_ROWS = [
    Variant("base", "Base", "none"),
    Variant("sft", "SFT", "sft", False, "gold"),
    Variant("permix-sft-gold", "PerMix-SFT (gold)", "sft", True, "gold"),
    Variant("permix-sft-styled", "PerMix-SFT (styled)", "sft", True, "styled"),
    *(Variant(f"seqkd-{t}", f"SeqKD ({title})", "sft", False, "teacher", t) for t, title in TEACHERS.items()),
    *(
        Variant(f"permix-seqkd-{t}", f"PerMix-SeqKD ({title})", "sft", True, "teacher", t)
        for t, title in TEACHERS.items()
    ),
    Variant("rlvr", "RLVR", "grpo", False, "verifier"),
    Variant("permix-rlvr", "PerMix-RLVR", "grpo", True, "verifier"),
]
VARIANTS = {row.name: row for row in _ROWS}


def get(name: str) -> Variant:
    """The row called `name`; BadInput names the nearest one."""
    if name not in VARIANTS:
        raise BadInput(f"There is no variant {name!r}: {nearest(name, VARIANTS)}")
    return VARIANTS[name]
