"""The toy world's problems: 1-3 chained steps (train, and test as its GSM8K), 4-5 steps (long, as its MATH500)."""

import itertools
from dataclasses import replace
from pathlib import Path
from typing import get_args

from permix.errors import BadInput, nearest
from permix.toy.problem import Part, problems
from permix.verifier import Problem

DATASET = ""
CONFIG = ""
SIZES = {"train": 4000, "test": 500, "long": 500}


def load(folder: Path | None, split: str, limit: int) -> list[Problem]:
    """The first `limit` problems (0: all) of train, test or long; no question is in two of them. No folder is read.

    The rationale is the toy world's gold wording (`permix.toy.style.gold`).
    """
    from permix.toy import style

    for part in get_args(Part):
        if part == split and split in SIZES:
            found = itertools.islice(problems(part), min(limit or SIZES[split], SIZES[split]))
            return [replace(problem, rationale=style.gold(problem)) for problem in found]
    raise BadInput(f"arithmetic has no split {split!r}: {nearest(split, SIZES)}")


def check(folder: Path | None) -> None:
    """Raise BadInput unless the verifier accepts every gold rationale."""
    from permix.verifier import Verifier

    every = [problem for split in SIZES for problem in load(folder, split, 0)]
    with Verifier() as verifier:
        for problem, verdict in zip(every, verifier.grade_many((p.rationale, p) for p in every), strict=True):
            if verdict.status != "correct":
                raise BadInput(
                    f"The verifier finds the gold of {problem.id} {verdict.status}: its answer must be {problem.gold}."
                )
