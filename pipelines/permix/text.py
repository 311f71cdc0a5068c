"""Texts that come from outside: UTF-8 can store them, and a chat message's parts are one text."""

import re
from typing import Any


def storable(content: Any) -> Any:
    """Return a text, or parsed JSON with texts, in which each half of a character is U+FFFD.

    JSON can escape one surrogate alone (half an emoji), which UTF-8 cannot store. Two matching halves are joined.
    """
    if isinstance(content, str):
        return (
            content
            if content.isascii()
            else content.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
        )
    if isinstance(content, dict):
        return {storable(key): storable(element) for key, element in content.items()}
    return [storable(element) for element in content] if isinstance(content, list) else content


def of_parts(content: Any) -> str:
    """Return the text of a message's content, a string or a list of parts; reasoning is not part of it."""
    if isinstance(content, dict):
        reasoning = re.search("think|reason", str(content.get("type")))
        return "" if reasoning else of_parts(content.get("text") or content.get("refusal"))
    if isinstance(content, list):
        return "".join(map(of_parts, content))
    return content if isinstance(content, str) else ""
