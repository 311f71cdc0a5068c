"""A benchmark of one's own: three questions."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from permix.benchmarks import Source

QUIZ = Source(name="quiz", dataset="me/quiz", problem="q", answer="a", verifier="exact", instruction="plain")


ROWS: list[dict[str, Any]] = [{"q": "Who?", "a": "Ann"}, {"q": "How many?", "a": 3}, {"q": "Where?", "a": "Here"}]


def quiz(folder: Path, rows: Sequence[Any] = ROWS, split: str = "test", config: str = "") -> Path:
    """A dataset folder as it comes from the Hub: one JSONL file per split."""
    parent = folder / config if config else folder
    parent.mkdir(parents=True, exist_ok=True)
    (parent / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder
