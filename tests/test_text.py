"""Texts from outside: what UTF-8 cannot store, and contents in parts."""

import json
from pathlib import Path
from typing import Any

import pytest

from permix import text
from permix.prompting import persona


@pytest.mark.parametrize(
    ("content", "stored"),
    [
        ("a \ud83d b", "a \ufffd b"),
        ("\udc00", "\ufffd"),
        ("\ud83d\ude00", "\U0001f600"),
        ("\ud83d\ud83d", "\ufffd\ufffd"),
        ("\ufeffé\U0001f600", "\ufeffé\U0001f600"),
        ({"\ud83d": ["\ud83d", 1, None, {"a": "\ud83d"}]}, {"\ufffd": ["\ufffd", 1, None, {"a": "\ufffd"}]}),
    ],
)
def test_half_a_character_is_replaced(content: Any, stored: Any) -> None:
    assert text.storable(content) == stored


def test_half_a_character_in_a_persona_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "pool.json"
    path.write_text(json.dumps([{"key": "a\ud83d", "category": "c", "system_prompt": "You are \ud83d."}]))
    assert persona.from_file(path) == [persona.Persona("a\ufffd", "c", "You are \ufffd.")]


@pytest.mark.parametrize(
    ("content", "joined"),
    [
        (None, ""),
        ("x", "x"),
        (5, ""),
        (["a", {"type": "text", "text": "b"}, {"text": "c"}, {"type": "output_text", "text": "d"}], "abcd"),
        ([{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}, {"type": "reasoning", "text": "hm"}], ""),
    ],
)
def test_parts_are_one_text_without_reasoning(content: Any, joined: str) -> None:
    assert text.of_parts(content) == joined
