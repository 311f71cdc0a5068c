"""The licence of each artifact, computed from what went into it: base, teacher or rewriter, and data.

SOURCES says what a source asks of what is made from it, PARTS which sources a kind of artifact holds.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from permix.experiment import models
from permix.paper.variants import Variant

HUB = "https://huggingface.co"


@dataclass(frozen=True)
class Licence:
    """`ids` are the Hub's own names; `name` and `link` belong to the id "other"."""

    ids: tuple[str, ...]
    reason: str
    name: str = ""
    link: str = ""


@dataclass(frozen=True)
class Terms:
    """What one source asks. `outputs`: it holds for its outputs too, and so for a model that is trained on them."""

    id: str
    says: str
    outputs: bool = False
    name: str = ""
    link: str = ""


OURS = Terms("apache-2.0", "What permix makes itself (toy problems, toy models, numbers) is under Apache-2.0.")
PERSONAS = Terms(
    "cc-by-4.0", "The persona texts are Tables 13-15 of the paper (Oh et al., arXiv:2604.08986), under CC BY 4.0."
)

OWN_PERSONAS = Terms(
    "other",
    "The pool eval was written by the publisher of this dataset; what may be done with it is theirs to say.",
    name="the-publishers-own",
)


def _llama(version: str) -> Terms:
    return Terms(
        f"llama{version}",
        f"Built with Llama. Llama {version} is licensed under the Llama {version} Community License, Copyright © Meta "
        "Platforms, Inc. All Rights Reserved. The name of a model that is made with it or trained on its outputs "
        "begins with Llama.",
        outputs=True,
    )


GEMMA = Terms(
    "gemma",
    "Gemma is provided under and subject to the Gemma Terms of Use found at ai.google.dev/gemma/terms; they hold for "
    "models that are trained on its outputs, too.",
    outputs=True,
)
OPENAI = Terms(
    "other",
    "Texts written by a model of OpenAI are under OpenAI's terms, which forbid to develop competing models with them.",
    outputs=True,
    name="openai-terms-of-use",
    link="https://openai.com/policies/terms-of-use",
)
SOURCES: tuple[tuple[str, Terms], ...] = (
    (r"(datasets/)?[^/]+/permix-.*toy.*", OURS),
    (r"meta-llama/(Meta-)?Llama-3\.3-.*", _llama("3.3")),
    (r"meta-llama/(Meta-)?Llama-3\.2-.*", _llama("3.2")),
    (r"meta-llama/(Meta-)?Llama-3\.1-.*", _llama("3.1")),
    (r"meta-llama/(Meta-)?Llama-3-.*", _llama("3")),
    (r"google/gemma-[123].*", GEMMA),
    (r"Qwen/Qwen3-.*", Terms("apache-2.0", "Qwen3 is under Apache-2.0.")),
    (r"gpt-.*|o\d.*", OPENAI),
    (r"deepseek-(chat|reasoner)", Terms("mit", "DeepSeek lets its outputs be used, for training too.")),
    (r"datasets/openai/gsm8k", Terms("mit", "GSM8K (Cobbe et al. 2021) is under the MIT licence.")),
    (r"datasets/HuggingFaceH4/MATH-500", Terms("mit", "MATH (Hendrycks et al. 2021) is under the MIT licence.")),
)
"""Repositories and model names (the first row that matches whole) and their terms."""

PARTS: dict[str, tuple[str, ...]] = {
    "personas": ("personas",),
    "base": ("ours",),
    "teacher": ("task", "personas", "writer"),
    "rewrites": ("task", "personas", "writer"),
    "mixture": ("task", "drawn", "writer"),
    "adapter": ("base", "writer"),
    "sweep": ("base", "writer"),
    "questions": ("questions", "personas", "writer"),
    "personagym": ("base", "writer", "questions"),
    "export": ("base", "writer"),
    "tables": ("ours", "personas"),
}
"""What is in an artifact of each card; in that of another card, all its inputs. `drawn`: the persona texts, where the
variant has personas; `writer`: the model that wrote the targets. The texts of a training set are not in the model that
learned from them; their writer's terms may be.
"""


def of(card: str, *, toy: bool, variant: Variant, inputs: Mapping[str, str], writer: str = "") -> Licence:
    """The licence of an artifact with this card.

    `toy`: of the toy world; `inputs`: {name: repository}; `writer`: the model that wrote the targets, where the
    artifact's own settings name it, else the variant's teacher or the paper's rewriter.
    """
    kinds = PARTS.get(card, tuple(inputs))
    author = writer or _writer(variant, toy)
    found: list[Terms] = []
    for kind in kinds:
        if kind == "personas" or (kind == "drawn" and variant.persona):
            found += _personas(inputs)
        elif kind == "writer" and author:
            terms = _terms(author)
            found += [terms] if terms.outputs or card in ("teacher", "rewrites", "questions") else []
        elif kind in inputs and kind != "writer":
            found.append(_terms(inputs[kind]))
        elif kind in ("task", "ours"):
            found.append(OURS)
    found = list(dict.fromkeys(found)) or [OURS]
    other = next((t for t in found if t.id == "other"), None)
    ids = tuple(dict.fromkeys(t.id for t in found))
    return Licence(ids, " ".join(t.says for t in found), other.name if other else "", other.link if other else "")


def _writer(variant: Variant, toy: bool) -> str:
    """The model whose texts the variant is trained on; "" where they are gold, or permix's own."""
    if variant.target == "styled":
        return "" if toy else "gpt-5-mini"
    return models.BUILTIN[variant.teacher].model if variant.teacher in models.BUILTIN else ""


def _personas(inputs: Mapping[str, str]) -> list[Terms]:
    """Of the paper's pools, of those with a pool eval of the publisher's own, or of somebody's dataset."""
    pool = inputs.get("personas", "/permix-personas").partition("@")[0]
    name = pool.rpartition("/")[2]
    if name == "permix-personas":
        return [PERSONAS]
    return [PERSONAS, OWN_PERSONAS] if name.startswith("permix-personas-") else [_terms(pool)]


def _terms(source: str) -> Terms:
    name = source.partition("@")[0]
    for pattern, terms in SOURCES:
        if re.fullmatch(pattern, name):
            return terms
    link = f"{HUB}/{name}" if "/" in name else ""
    return Terms("other", f"Made from {name}: its licence and terms hold here too.", True, "that-of-its-sources", link)
