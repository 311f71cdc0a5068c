"""The variants: rows of the paper's Tables 2 and 3, each a way to post-train one base model (section 4.1)."""

import re
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
SERVED = "model."
"""Before the name of a recipe's [model.<x>], where a variant should stand: that model behind its server."""


@dataclass(frozen=True)
class Other:
    """A model beside the recipe's base, measured as it is: `base` of the Hub with `adapter`, or one that is `served`.

    `served` is the <x> of the recipe's table [model.<x>]; the others are Hub ids, with @revision where one is pinned.
    """

    base: str = ""
    adapter: str = ""
    served: str = ""

    @property
    def slug(self) -> str:
        """The model's own name, where a recipe's base has its slug."""
        return self.served or slug(self.base)

    @property
    def variant(self) -> str:
        """What stands in the place of the variant: "base", the adapter's own name, or "served"."""
        return "served" if self.served else slug(self.adapter) if self.adapter else "base"


def slug(repo: str) -> str:
    """The own name of `org/name[@revision]`."""
    return repo.partition("@")[0].partition("/")[2]


def other(name: str) -> Other | None:
    """The model that `org/model`, `org/model+org/adapter` or `model.<x>` names; None where it is a row's name."""
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
    """The row called `name`; BadInput names the nearest one. A model beside the base is an untrained row."""
    if found := other(name):
        return Variant(name, found.slug if found.variant in ("base", "served") else found.variant, "none")
    if name not in VARIANTS:
        raise BadInput(f"There is no variant {name!r}: {nearest(name, VARIANTS)}")
    return VARIANTS[name]
