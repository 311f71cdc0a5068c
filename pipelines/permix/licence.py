"""The licence of each artifact, and why it is this one."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Licence:
    """`ids` are the Hub's own names; `name` and `link` belong to the id "other"."""

    ids: tuple[str, ...]
    reason: str
    name: str = ""
    link: str = ""


OURS = Licence(("apache-2.0",), "All its parts are made by permix.")
PERSONAS = Licence(
    ("cc-by-4.0",), "The texts are Tables 13-15 of the paper, published under CC BY 4.0; attribution above."
)
MIXED = Licence(
    ("apache-2.0", "cc-by-4.0"),
    "The problems are made by permix (Apache-2.0); the persona texts in the prompts are the paper's (CC BY 4.0).",
)


def of(card: str, *, toy: bool, persona: bool, inputs: Mapping[str, str]) -> Licence:
    """The licence of an artifact with this card.

    `toy`: of the toy world; `persona`: persona texts are in it; `inputs`: {name: repository}. Ours where permix made
    all its parts, else "other" with a link to the base model or data that decides.
    """
    if card == "personas":
        return PERSONAS
    if toy or card == "tables":  # tables hold numbers only
        return MIXED if card == "mixture" and persona else OURS
    sources = dict(sorted(inputs.items()))
    first = sources.get("base") or sources.get("task") or next(iter(sources.values()))
    reason = f"Made from {', '.join(sources.values())}: their licences and terms hold here too."
    return Licence(("other",), reason, "that-of-its-sources", f"https://huggingface.co/{first}")
