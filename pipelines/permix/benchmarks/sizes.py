"""The numbers of problems, and the lengths of prompts and answers, known without reading the datasets."""

import functools

from permix import paper
from permix.benchmarks import Source, arithmetic, builtin

TRAINING = 7473
"""Problems of GSM8K's training set; the user's own training sets count as equally large."""
UNKNOWN = 500
ANSWER = {"arithmetic": 30, "gsm8k": 220, "math500": 450, "aime2024": 1200, "livecodebench": 400}
UNKNOWN_ANSWER = 400
PROMPT = {"arithmetic": 50}
IN_WORDS = (90, 150)
"""Tokens of a prompt and an answer of arithmetic for a real model, which explains its steps in sentences."""
UNKNOWN_PROMPT = 160


@functools.cache
def _known() -> dict[tuple[str, str], int]:
    """Return {(module, split): problems}; the module of a user's own dataset is ""."""
    sources = {name: builtin(name) for name in paper.PROBLEMS}
    measured = {(source.module, source.split): paper.PROBLEMS[name] for name, source in sources.items()}
    toy = {("arithmetic", split): count for split, count in arithmetic.SIZES.items()}
    return {("gsm8k", "train"): TRAINING, ("", "train"): TRAINING} | measured | toy


def problems(source: Source, limit: int = 0) -> int:
    """Return the number of problems of a source, bounded by `limit` and by its own limit (0: no bound)."""
    return min((n for n in (_known().get((source.module, source.split)), limit, source.limit) if n), default=UNKNOWN)


def lengths(source: Source, toy: bool = True) -> tuple[int, int]:
    """Return the mean tokens of a prompt and of an answer, for arithmetic those of the toy base or of a real one."""
    if source.module == "arithmetic" and not toy:
        return IN_WORDS
    return PROMPT.get(source.module, UNKNOWN_PROMPT), ANSWER.get(source.module, UNKNOWN_ANSWER)
