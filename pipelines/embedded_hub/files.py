"""Write a file so that a kill never leaves half of it, and start a child without the parent's secrets."""

import json
import os
import re
from pathlib import Path
from typing import Any

_SECRET = re.compile("(KEY|TOKEN|SECRET|PASSWORD)S?$", re.IGNORECASE)


def write_bytes(path: Path, data: bytes) -> None:
    """Write `data` so that `path` holds all of it or its previous content, also after a power cut."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with partial.open("wb") as out:
            out.write(data)
            out.flush()
            os.fsync(out.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)  # the disk was full, say


def write_json(path: Path, value: Any) -> None:
    """Write `value` as JSON, atomically."""
    write_bytes(path, json.dumps(value, indent=1, sort_keys=True).encode() + b"\n")


def environment_without_secrets() -> dict[str, str]:
    """This process's environment for a child, without the variables whose names say that they hold a secret."""
    return {name: value for name, value in os.environ.items() if not _SECRET.search(name)}
