"""The metadata at the top of a README, for lists and searches."""

import math
import re
from functools import lru_cache
from typing import Any

import yaml

_FRONT = re.compile(r"\A\ufeff?---[ \t]*\r?\n(.*?)(?:^|\r?\n)---[ \t]*(?:\r?\n|\Z)", re.DOTALL | re.MULTILINE)
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_OWN_NAME = ("license", "language", "base_model", "task_categories", "task_ids", "size_categories", "multilinguality")
_PREFIXED = {key: key for key in _OWN_NAME} | {"datasets": "dataset"}


class BadCard(ValueError):
    """The metadata cannot be read; the message says why."""


LONGEST, DEEPEST, MOST, BRACKETS = 512 << 10, 32, 100_000, 20_000
"""Limits: characters, levels of nesting, values after following references, opening brackets (the parser's time grows
with the square of the unclosed ones)."""


def metadata(readme: str) -> dict[str, Any]:
    """Return the YAML block of a README, empty if missing. BadCard. Do not change the returned dict."""
    match = _FRONT.match(readme)
    return _read(match[1]) if match else {}


def body(readme: str) -> str:
    """Return a README without the YAML block."""
    return _FRONT.sub("", readme, count=1)


@lru_cache(512)
def _read(text: str) -> dict[str, Any]:
    try:
        _check_size(text)
        value = yaml.load(text, Loader=_LOADER)  # noqa: S506  (a safe loader, in C where there is one)
    except BadCard:
        raise
    except (yaml.YAMLError, ValueError, TypeError) as error:
        raise BadCard(f"The metadata of README.md is not YAML: {' '.join(str(error).split())}") from None
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise BadCard("The metadata of README.md should be YAML keys and values.")
    for key in ("tags", "datasets", "metrics"):
        if not all(isinstance(word, str) for word in words(value.get(key))):
            raise BadCard(f'"{key}" in the metadata of README.md should be a list of words.')
    return _json(value)  # type: ignore[no-any-return]


def words(value: Any) -> list[Any]:
    """Return a word or a list of words as a list."""
    return [] if value is None else list(value) if isinstance(value, list) else [value]


def tags(card: dict[str, Any]) -> list[str]:
    """Return the tags that the Hub derives from a card."""
    tags = [str(word) for word in words(card.get("tags"))]
    tags += [str(card[key]) for key in ("library_name", "pipeline_tag") if card.get(key)]
    tags += [f"{name}:{word}" for key, name in _PREFIXED.items() for word in words(card.get(key))]
    tags += [str(word) for word in words(card.get("language"))]
    if card.get("base_model_relation"):
        tags += [f"base_model:{card['base_model_relation']}:{word}" for word in words(card.get("base_model"))]
    return list(dict.fromkeys(tags))


def _check_size(text: str) -> None:
    """Raise BadCard for expensive YAML: deep nesting overflows the stack, nested references fill the memory."""
    too_large = BadCard("The metadata of README.md are too long, too deeply nested, or refer to themselves.")
    if len(text) > LONGEST or text.count("[") + text.count("{") > BRACKETS:
        raise too_large
    values: dict[str, int] = {}
    open_: list[tuple[str | None, int]] = [(None, 0)]  # anchor and number of values of each open collection
    for event in yaml.parse(text, Loader=_LOADER):
        anchor = getattr(event, "anchor", None)
        if isinstance(event, yaml.CollectionStartEvent):
            open_.append((anchor, 1))
            continue
        if isinstance(event, yaml.CollectionEndEvent):
            anchor, count = open_.pop()
        elif isinstance(event, yaml.AliasEvent):
            count, anchor = values.get(anchor or "", MOST), None
        else:
            count = 1
        if anchor is not None:
            values[anchor] = count
        open_[-1] = (open_[-1][0], open_[-1][1] + count)
        if len(open_) > DEEPEST or open_[-1][1] >= MOST:
            raise too_large


def _json(value: Any) -> Any:
    """Convert dates, infinite numbers and non-text keys, which JSON does not have, to text."""
    if isinstance(value, dict):
        return {str(key): _json(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_json(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, int) and abs(value) >= 1 << 64:
        raise BadCard("The metadata of README.md hold a number that is too large.")
    return value if isinstance(value, str | int | float | bool | None) else str(value)
