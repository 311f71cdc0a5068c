"""Tables of cases that stand in a JSON file beside their tests, one case a line."""

import json
from pathlib import Path
from typing import Any


def cases(test_file: str) -> dict[str, Any]:
    """Return the tables of `test_x.py` by name, from `x.json` in its folder."""
    path = Path(test_file)
    tables: dict[str, Any] = json.loads(path.with_name(path.stem.removeprefix("test_") + ".json").read_text("utf-8"))
    return tables
