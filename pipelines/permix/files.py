"""The paths of the published folders, reading what comes from outside, and writing a file as a whole or not at all."""

import codecs
import json
import os
from pathlib import Path
from typing import Any

from embedded_hub import files as atomic

_HERE = Path(__file__).resolve().parent
ROOT = _HERE / "_data" if (_HERE / "_data").is_dir() else _HERE.parents[1]  # in a wheel, else in a checkout
PERSONAS, CARDS, SPACES, RECIPES = (ROOT / part for part in ("personas", "hub_cards", "spaces", "pipelines/recipes"))


def home() -> Path:
    """Return permix's folder on this machine: `$PERMIX_HOME`, else `permix` in the user's data folder."""
    data = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(os.environ.get("PERMIX_HOME") or Path(data) / "permix").expanduser().absolute()


def read_text(path: Path) -> str:
    """Return the text of a user's file: UTF-8 with or without a byte order mark, or UTF-16 with one."""
    data = path.read_bytes()
    return data.decode("utf-16" if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig")


def storable(content: Any) -> Any:
    """Return a text or JSON with U+FFFD for each lone surrogate (half an emoji), which UTF-8 cannot store."""
    if isinstance(content, str):
        units = b"" if content.isascii() else content.encode("utf-16-le", "surrogatepass")
        return units.decode("utf-16-le", "replace") or content
    if isinstance(content, dict):
        return {storable(key): storable(element) for key, element in content.items()}
    return [storable(element) for element in content] if isinstance(content, list) else content


def write_bytes(path: Path, data: bytes) -> None:
    """Write `data` to `path` atomically: after a kill or power cut it has the old or the new content."""
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic.write_bytes(path, data)


def write_json(path: Path, value: Any) -> None:
    """Write `value` as JSON with sorted keys, atomically."""
    write_bytes(path, json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False).encode() + b"\n")
