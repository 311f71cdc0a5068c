"""GSM8K (Cobbe et al. 2021, arXiv 2110.14168): grade-school word problems with integer answers. MIT licence."""

import re
from pathlib import Path

import pyarrow.parquet as parquet

from permix.errors import BadInput
from permix.verifier import Problem, Verifier

DATASET = "openai/gsm8k"
REVISION = "740312add88f781978c0658806c59bc2815b9866"
CONFIG = "main"
SPLIT = "test"
MARK = "####"  # between rationale and answer
_CALCULATOR = re.compile(r"<<.*?>>")  # annotations like <<48/2=24>>, no part of what a person would write


def load(folder: Path | None, split: str = SPLIT, limit: int = 0) -> list[Problem]:
    """The problems of a split of the dataset's folder, the first `limit` or all (0); ids `gsm8k/test/17`.

    The rationale ends in a sentence with the boxed answer where the dataset has `#### 42`, so that it verifies.
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
        reasoning, _, answer = row["answer"].rpartition(MARK)
        gold = answer.strip().replace(",", "")
        rationale = f"{_CALCULATOR.sub('', reasoning)}The answer is \\boxed{{{gold}}}."
        problems.append(Problem(name, row["question"], gold, rationale=rationale))
    return problems


def check(folder: Path) -> None:
    """Raise BadInput unless the verifier accepts every gold answer of both splits, and every rationale, as right."""
    with Verifier() as verifier:
        for split in ("train", "test"):
            problems = load(folder, split)
            verifier.check_golds(problems)
            verdicts = verifier.grade_many((p.rationale, p) for p in problems)
            for problem, verdict in zip(problems, verdicts, strict=True):
                if verdict.status != "correct":
                    raise BadInput(f"The verifier finds the rationale of {problem.id} {verdict.status}: correct it.")
