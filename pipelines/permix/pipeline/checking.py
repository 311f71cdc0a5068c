"""Check the values of a recipe against the types of our dataclasses."""

import types
import typing
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from permix.errors import BadInput, nearest


def check(
    table: Any,
    known: Mapping[str, Any],
    hints: Mapping[str, Any],
    where: str,
    suggest: Callable[[str, Iterable[str]], str] = nearest,
) -> dict[str, Any]:
    """Return `table` converted to the types in `hints`. `suggest(key, known)` ends the error for an unknown key."""
    checked = {}
    for key, value in as_table(table, where).items():
        if key not in known:
            raise BadInput(f"{where} has an unknown key {key!r}: {suggest(key, known)}")
        checked[key] = _typed(value, hints[key], f"{key} of {where}")
    return checked


def _typed(value: Any, hint: Any, where: str) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Literal:
        if value in arguments:
            return value
        raise BadInput(f"{where} is {value!r}: it should be one of {', '.join(map(repr, arguments))}.")
    if origin in (typing.Union, types.UnionType):
        return None if value is None else _typed(value, next(a for a in arguments if a is not type(None)), where)
    if origin is tuple:
        if isinstance(value, list | tuple):
            return tuple(_typed(v, arguments[0], where) for v in value)
        raise BadInput(f"{where} is {value!r}: it should be a list.")
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(value, hint) and not (hint in (int, float) and isinstance(value, bool)):
        return value
    raise BadInput(f"{where} is {value!r}: it should be of type {hint.__name__}, not {type(value).__name__}.")


def as_table(value: Any, where: str) -> dict[str, Any]:
    """Return `value`; BadInput if it is not a table."""
    if isinstance(value, dict):
        return value
    raise BadInput(f"{where} is {value!r}: it should be a table.")
