"""The licence of each artifact, computed from the terms of its sources in licences.toml."""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
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


_TABLE = tomllib.loads(Path(__file__).with_name("licences.toml").read_text(encoding="utf-8"))
OURS, PERSONAS, OWN_PERSONAS = (Terms(**_TABLE[name]) for name in ("ours", "personas", "own_personas"))
SOURCES = tuple((row.pop("pattern"), Terms(**row)) for row in _TABLE["source"])
"""Patterns of repositories and model names with their terms; the first full match applies."""
PARTS: dict[str, list[str]] = _TABLE["parts"]
"""{card: the sources of its artifacts}."""
PERMISSIVE = ("apache-2.0", "mit", "bsd-2-clause", "bsd-3-clause", "cc0-1.0", "cc-by-4.0", "unlicense")
"""Licences that do not bind what a model writes."""


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
    kinds = PARTS.get(card, list(inputs))
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
        if match := re.fullmatch(pattern, name):
            id_, says = (text.format(**match.groupdict()) for text in (terms.id, terms.says))
            return replace(terms, id=id_, says=says)
    if card := own.get(name):
        title = card.get("license_name") or card["license"]
        says = f"{name} is under {title}, by its card."
        if card["license"] != "other":
            return Terms(card["license"], says, card["license"] not in PERMISSIVE)
        return Terms("other", says, True, title, card.get("license_link") or f"{HUB}/{name}")
    link = f"{HUB}/{name}" if "/" in name else ""
    return Terms("other", f"Made from {name}: its licence and terms apply here too.", True, "that-of-its-sources", link)
