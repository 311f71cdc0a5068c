"""AIME 2024: 30 problems with integer answers from 0 to 999 (MAA). Without a licence: sweeps name them by id."""

from itertools import islice
from pathlib import Path

import pyarrow.parquet as parquet

from permix.errors import BadInput
from permix.verifier import Problem

DATASET = "HuggingFaceH4/aime_2024"
REVISION = "2fe88a2f1091d5048c0f36abc874fb997b3dd99a"
CONFIG = "default"
SPLIT = "train"  # the dataset's only split
REPUBLISH = False


def load(folder: Path | None, split: str = SPLIT, limit: int = 0) -> list[Problem]:
    """Return the first `limit` problems (0: all); golds have three digits. BadInput for missing or incomplete data."""
    tables = sorted(folder.glob(f"data/{split}-*.parquet")) if folder else []
    if not tables:
        raise BadInput(f"{DATASET} has no file data/{split}-*.parquet: its only split is {SPLIT}.")
    problems: list[Problem] = []
    for row in islice((row for table in tables for row in parquet.read_table(table).to_pylist()), limit or None):
        if not isinstance(row.get("problem"), str) or not isinstance(row.get("answer"), str) or row.get("id") is None:
            raise BadInput(f"Row {len(problems)} of {DATASET} lacks id, problem or answer: pin another revision.")
        problems.append(Problem(f"aime2024/{row['id']}", row["problem"], row["answer"]))
    return problems
