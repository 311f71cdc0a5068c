"""The licence of each artifact, computed from its sources: base, teacher or rewriter, and data.

SOURCES has the terms of a source for works made from it, PARTS the sources of each kind of artifact.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from permix.experiment import models
from permix.paper.variants import Variant

HUB = "https://huggingface.co"


@dataclass(frozen=True)
class Licence:
    """`ids` are the Hub's names of licences; `name` and `link` belong to the id "other"."""

    ids: tuple[str, ...]
    reason: str
    name: str = ""
    link: str = ""


@dataclass(frozen=True)
class Terms:
    """The terms of one source. With `outputs` they apply to its outputs and to models trained on them too."""

    id: str
    says: str
    outputs: bool = False
    name: str = ""
    link: str = ""


OURS = Terms("apache-2.0", "Toy problems, toy models and numbers made by permix are under Apache-2.0.")
PERSONAS = Terms(
    "cc-by-4.0", "The persona texts are Tables 13-15 of the paper (Oh et al., arXiv:2604.08986), under CC BY 4.0."
)
_PUBLISHER = "The pool eval was written by the publisher of this dataset, who sets its terms."
OWN_PERSONAS = Terms("other", _PUBLISHER, name="the-publishers-own")


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
    "Gemma is provided under and subject to the Gemma Terms of Use found at ai.google.dev/gemma/terms; they also "
    "apply to models trained on its outputs.",
    outputs=True,
)
OPENAI = Terms(
    "other",
    "Texts written by a model of OpenAI are under OpenAI's terms, which forbid using them to develop competing models.",
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
"""Patterns of repositories and model names with their terms; the first full match applies."""

PERMISSIVE = ("apache-2.0", "mit", "bsd-2-clause", "bsd-3-clause", "cc0-1.0", "cc-by-4.0", "unlicense")
"""Licences that do not bind what a model writes."""

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
"""{card: the sources of its artifacts}; any other card has all its inputs as sources.

`drawn`: the persona texts, if the variant has personas. `writer`: the model that wrote the targets. A trained model
does not contain the texts of its training set, but their writer's terms may apply to it.
"""


def of(
    card: str,
    *,
    toy: bool,
    variant: Variant,
    inputs: Mapping[str, str],
    writer: str = "",
    own: Mapping[str, Mapping[str, str]] = MappingProxyType({}),
) -> Licence:
    """Return the licence of an artifact with this card.

    `inputs` is {name: repository}. `writer` is the model that wrote the targets if the artifact's settings name it;
    otherwise it is the variant's teacher or the paper's rewriter. `own` is {repository: stated() of its card}, for
    sources without a row in the table.
    """
    kinds = PARTS.get(card, tuple(inputs))
    author = writer or _writer(variant, toy)
    sources: list[Terms] = []
    for kind in kinds:
        if kind == "personas" or (kind == "drawn" and variant.persona):
            sources += _personas(inputs, own)
        elif kind == "writer" and author:
            terms = _terms(author, own)
            sources += [terms] if terms.outputs or card in ("teacher", "rewrites", "questions") else []
        elif kind in inputs and kind != "writer":
            sources.append(_terms(inputs[kind], own))
        elif kind in ("task", "ours"):
            sources.append(OURS)
    sources = list(dict.fromkeys(sources)) or [OURS]
    named = next((terms for terms in sources if terms.id == "other"), OURS)
    ids = tuple(dict.fromkeys(terms.id for terms in sources))
    return Licence(ids, " ".join(terms.says for terms in sources), named.name, named.link)


def _writer(variant: Variant, toy: bool) -> str:
    """Return the model whose texts the variant is trained on; "" if they are gold or permix's own."""
    if variant.target == "styled":
        return "" if toy else "gpt-5-mini"
    return models.BUILTIN[variant.teacher].model if variant.teacher in models.BUILTIN else ""


def _personas(inputs: Mapping[str, str], own: Mapping[str, Mapping[str, str]]) -> list[Terms]:
    """Return the terms of the paper's pools, of pools with the publisher's own eval, or of another dataset."""
    pool = inputs.get("personas", "/permix-personas").partition("@")[0]
    name = pool.rpartition("/")[2]
    if name == "permix-personas":
        return [PERSONAS]
    return [PERSONAS, OWN_PERSONAS] if name.startswith("permix-personas-") else [_terms(pool, own)]


def stated(repo: str, card: Mapping[str, Any]) -> dict[str, str]:
    """Return the licence in the metadata of a source's card; {} if there is none, or the table has the source."""
    known = any(re.fullmatch(pattern, repo.partition("@")[0]) for pattern, _ in SOURCES)
    names = [name for name in ("license", "license_name", "license_link") if isinstance(card.get(name), str)]
    return {name: card[name] for name in names} if "license" in names and not known else {}


def _terms(source: str, own: Mapping[str, Mapping[str, str]]) -> Terms:
    name = source.partition("@")[0]
    for pattern, terms in SOURCES:
        if re.fullmatch(pattern, name):
            return terms
    if card := own.get(name):
        title = card.get("license_name") or card["license"]
        says = f"{name} is under {title}, by its card."
        if card["license"] != "other":
            return Terms(card["license"], says, card["license"] not in PERMISSIVE)
        return Terms("other", says, True, title, card.get("license_link") or f"{HUB}/{name}")
    link = f"{HUB}/{name}" if "/" in name else ""
    return Terms("other", f"Made from {name}: its licence and terms apply here too.", True, "that-of-its-sources", link)
