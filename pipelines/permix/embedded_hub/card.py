"""The metadata at the top of a README: what repository lists and searches go by."""

import re
from functools import lru_cache
from typing import Any

import yaml

_FRONT = re.compile(r"\A\ufeff?---[ \t]*\r?\n(.*?)(?:^|\r?\n)---[ \t]*(?:\r?\n|\Z)", re.DOTALL | re.MULTILINE)
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_PREFIXED = {"license": "license", "datasets": "dataset", "language": "language", "base_model": "base_model"}


class BadCard(ValueError):
    """The metadata cannot be read; the message says why."""


@lru_cache(512)
def metadata(readme: str) -> dict[str, Any]:
    """The YAML block of a README, empty when there is none. BadCard. Do not change the result."""
    found = _FRONT.match(readme)
    if not found:
        return {}
    try:
        value = yaml.load(found[1], Loader=_LOADER)  # noqa: S506  (a safe loader, in C where there is one)
    except (yaml.YAMLError, ValueError) as error:
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


def _json(value: Any) -> Any:
    """YAML has dates and non-text keys; JSON has not."""
    if isinstance(value, dict):
        return {str(key): _json(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_json(one) for one in value]
    return value if isinstance(value, str | int | float | bool | None) else str(value)
