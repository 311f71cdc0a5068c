"""The metadata at the top of a README: what repository lists and searches go by."""

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
"""Of the metadata: characters, levels of nesting, values once references are followed, opening brackets (the parser's
time grows with the square of those that stay open)."""


def metadata(readme: str) -> dict[str, Any]:
    """The YAML block of a README, empty when there is none. BadCard. Do not change the result."""
    found = _FRONT.match(readme)
    return _read(found[1]) if found else {}


def body(readme: str) -> str:
    """A README without the YAML block."""
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
        if key in value and not all(isinstance(one, str) for one in words(value[key], BadCard)):
            raise BadCard(f'"{key}" in the metadata of README.md should be a list of words.')
    return _json(value)  # type: ignore[no-any-return]


def words(value: Any, error: type[Exception] | None = None) -> list[Any]:
    """A word or a list of words, as a list."""
    if isinstance(value, dict) and error:
        raise error("A list of words is expected in the metadata of README.md where there are keys and values.")
    return [] if value is None else list(value) if isinstance(value, list) else [value]


def tags(card: dict[str, Any]) -> list[str]:
    """The tags that the Hub derives from a card."""
    found = [str(one) for one in words(card.get("tags"))]
    found += [str(card[key]) for key in ("library_name", "pipeline_tag") if card.get(key)]
    found += [f"{name}:{one}" for key, name in _PREFIXED.items() for one in words(card.get(key))]
    found += [str(one) for one in words(card.get("language"))]
    if card.get("base_model_relation"):
        found += [f"base_model:{card['base_model_relation']}:{one}" for one in words(card.get("base_model"))]
    return list(dict.fromkeys(found))


def _check_size(text: str) -> None:
    """BadCard for what would cost too much: deep nesting ends the process, references to references its memory."""
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
            anchor, found = open_.pop()
        elif isinstance(event, yaml.AliasEvent):
            found, anchor = values.get(anchor or "", MOST), None
        else:
            found = 1
        if anchor is not None:
            values[anchor] = found
        open_[-1] = (open_[-1][0], open_[-1][1] + found)
        if len(open_) > DEEPEST or open_[-1][1] >= MOST:
            raise too_large


def _json(value: Any) -> Any:
    """YAML has dates, numbers without end and non-text keys; JSON has not."""
    if isinstance(value, dict):
        return {str(key): _json(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_json(one) for one in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, int) and abs(value) >= 1 << 64:
        raise BadCard("The metadata of README.md hold a number that is too large.")
    return value if isinstance(value, str | int | float | bool | None) else str(value)
