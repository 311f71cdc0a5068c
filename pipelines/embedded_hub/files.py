"""Atomic writes of files, and an environment without secrets for child processes."""

import json
import os
import re
from pathlib import Path
from typing import Any

_SECRET = re.compile("(KEY|TOKEN|SECRET|PASSWORD)S?$", re.IGNORECASE)


def write_bytes(path: Path, content: bytes) -> None:
    """Write `content` so that `path` holds all of it or its previous content, also after a power cut."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with partial.open("wb") as out:
            out.write(content)
            out.flush()
            os.fsync(out.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)  # the disk was full, say


def write_json(path: Path, value: Any) -> None:
    """Write `value` as JSON, atomically."""
    write_bytes(path, json.dumps(value, indent=1, sort_keys=True).encode() + b"\n")


def without_secrets() -> dict[str, str]:
    """Return this process's environment without the variables whose names suggest a secret."""
    return {name: value for name, value in os.environ.items() if not _SECRET.search(name)}
