"""GSM8K (Cobbe et al. 2021, arXiv 2110.14168): grade-school word problems with integer answers. MIT licence."""

import re
from itertools import islice
from pathlib import Path

import pyarrow.parquet as parquet

from permix.errors import BadInput
from permix.verifier import Problem

DATASET = "openai/gsm8k"
REVISION = "740312add88f781978c0658806c59bc2815b9866"
CONFIG = "main"
SPLIT = "test"
MARK = "####"  # between rationale and answer
_CALCULATOR = re.compile(r"<<.*?>>")  # annotations like <<48/2=24>>


def load(folder: Path | None, split: str = SPLIT, limit: int = 0) -> list[Problem]:
    """Return the first `limit` problems (0: all); rationales end in a boxed answer instead of `#### 42`, to verify."""
    tables = sorted(folder.glob(f"{CONFIG}/{split}-*.parquet")) if folder else []
    if not tables:
        laid_out = "it should be laid out as on the Hub, with the splits train and test."
        raise BadInput(f"{DATASET} has no file {CONFIG}/{split}-*.parquet: {laid_out}")
    problems: list[Problem] = []
    rows = (row for table in tables for row in parquet.read_table(table).to_pylist())
    for number, row in enumerate(islice(rows, limit or None)):
        name = f"gsm8k/{split}/{number}"
        if not isinstance(row.get("question"), str) or MARK not in str(row.get("answer")):
            raise BadInput(f"{name} has no question or no answer after {MARK}: pin a revision that has both.")
        reasoning, _, answer = row["answer"].rpartition(MARK)
        gold = answer.strip().replace(",", "")
        rationale = f"{_CALCULATOR.sub('', reasoning)}The answer is \\boxed{{{gold}}}."
        problems.append(Problem(name, row["question"], gold, rationale=rationale))
    return problems
