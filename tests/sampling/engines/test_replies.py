"""The contents of replies in parts."""

from typing import Any

import pytest

from permix.sampling.engines.endpoint.replies import of_parts


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
    assert of_parts(content) == joined
