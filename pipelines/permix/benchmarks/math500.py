"""MATH-500: the 500 MATH problems held out by Lightman et al. 2023 (arXiv 2305.20050). MIT licence."""

import json
from itertools import islice
from pathlib import Path

from permix.errors import BadInput
from permix.verifier import Problem

DATASET = "HuggingFaceH4/MATH-500"
REVISION = "6e4ed1a2a79af7d8630a6b768ec859cb5af4d3be"
CONFIG = "default"
SPLIT = "test"


def load(folder: Path | None, split: str = SPLIT, limit: int = 0) -> list[Problem]:
    """Return the first `limit` problems (0: all) of the folder, with MATH's ids; BadInput for missing data."""
    file = folder / f"{split}.jsonl" if folder else None
    if file is None or not file.is_file():
        raise BadInput(f"{DATASET} has no file {split}.jsonl: its only split is test.")
    problems: list[Problem] = []
    rows = (json.loads(line) for line in file.read_bytes().splitlines())  # as text, U+2028 would end a line too
    for number, row in enumerate(islice(rows, limit or None), 1):
        if not all(isinstance(row.get(key), str) for key in ("unique_id", "problem", "answer")):
            raise BadInput(f"Row {number} of {DATASET} lacks problem, answer or unique_id: pin another revision.")
        problems.append(Problem(row["unique_id"], row["problem"], row["answer"]))
    return problems
