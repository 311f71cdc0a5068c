"""The variants: rows of the paper's Tables 2 and 3, each a way to post-train a base model (section 4.1)."""

import re
from dataclasses import dataclass
from typing import Literal

from permix.errors import BadInput, nearest

TEACHERS = {"qwen3-32b": "Qwen3-32B", "llama3.1-70b": "Llama3.1-70B", "gemma3-27b": "Gemma3-27B", "toy": "toy teacher"}


@dataclass(frozen=True)
class Variant:
    """One row: the trainer, whether a persona is in the training prompt, and the target.

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
    *(Variant(f"permix-seqkd-{t}", f"PerMix-SeqKD ({x})", "sft", True, "teacher", t) for t, x in TEACHERS.items()),
    Variant("rlvr", "RLVR", "grpo", False, "verifier"),
    Variant("permix-rlvr", "PerMix-RLVR", "grpo", True, "verifier"),
]
VARIANTS = {row.name: row for row in _ROWS}
SERVED = "model."
"""Prefix of a variant `model.<x>`: the served model of the recipe's table [model.<x>]."""


@dataclass(frozen=True)
class Other:
    """A model besides the recipe's base, measured without training: `base` with `adapter`, or a served one.

    `served` is the <x> of the recipe's table [model.<x>]; the others are Hub ids, with @revision where pinned.
    """

    base: str = ""
    adapter: str = ""
    served: str = ""

    @property
    def slug(self) -> str:
        """The model's own name, like the slug of a recipe's base."""
        return self.served or slug(self.base)

    @property
    def variant(self) -> str:
        """The name in place of a variant's: "base", the adapter's own name, or "served"."""
        return "served" if self.served else slug(self.adapter) if self.adapter else "base"


def slug(repo: str) -> str:
    """Return the name in `org/name[@revision]`."""
    return repo.partition("@")[0].partition("/")[2]


def other(name: str) -> Other | None:
    """Return the model of `org/model`, `org/model+org/adapter` or `model.<x>`; None for the name of a row."""
    if name.startswith(SERVED):
        return Other(served=name.removeprefix(SERVED))
    if "/" not in name:
        return None
    base, _, adapter = name.partition("+")
    for repo in (base, *([adapter] if "+" in name else [])):
        if not re.fullmatch(r"[\w.-]+/[\w.-]+(@[\w./-]+)?", repo):
            raise BadInput(f"The variant {name!r} should be org/model, or org/model+org/adapter.")
    return Other(base, adapter)


def get(name: str) -> Variant:
    """Return the row called `name`, an untrained row for another model; BadInput names the nearest."""
    if model := other(name):
        return Variant(name, model.slug if model.variant in ("base", "served") else model.variant, "none")
    if name not in VARIANTS:
        raise BadInput(f"There is no variant {name!r}: {nearest(name, VARIANTS)}")
    return VARIANTS[name]
