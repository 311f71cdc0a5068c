"""GSM8K (Cobbe et al. 2021, arXiv 2110.14168): grade-school word problems with integer answers. MIT licence."""

from pathlib import Path

import pyarrow.parquet as parquet

from permix.errors import BadInput
from permix.verifier import Problem, Verifier

DATASET = "openai/gsm8k"
CONFIG = "main"
SPLIT = "test"
MARK = "####"  # between rationale and answer


def load(folder: Path | None, split: str = SPLIT, limit: int = 0) -> list[Problem]:
    """The problems of a split of the dataset's folder, the first `limit` or all (0); ids `gsm8k/test/17`.

    BadInput where the folder lacks the split or a row its answer.
    """
    tables = sorted(folder.glob(f"{CONFIG}/{split}-*.parquet")) if folder else []
    if not tables:
        laid_out = "it should be laid out as on the Hub, with the splits train and test."
        raise BadInput(f"{DATASET} has no file {CONFIG}/{split}-*.parquet: {laid_out}")
    problems: list[Problem] = []
    for row in (row for table in tables for row in parquet.read_table(table).to_pylist()):
        if limit and len(problems) == limit:
            break
        name = f"gsm8k/{split}/{len(problems)}"
        if not isinstance(row.get("question"), str) or MARK not in str(row.get("answer")):
            raise BadInput(f"{name} has no question or no answer after {MARK}: pin a revision that has both.")
        gold = row["answer"].rpartition(MARK)[2].strip().replace(",", "")
        problems.append(Problem(name, row["question"], gold))
    return problems


def check(folder: Path) -> None:
    """Raise BadInput unless the verifier accepts every gold answer of both splits as an answer to itself."""
    with Verifier() as verifier:
        for split in ("train", "test"):
            verifier.check_golds(load(folder, split))
