"""How many problems there are and how long they and their answers are, as far as that is known without reading them."""

import functools

from permix import paper
from permix.benchmarks import Source, arithmetic, builtin

TRAINING = 7473
"""GSM8K's training set; one of one's own counts as large."""
UNKNOWN = 500
ANSWER = {"arithmetic": 30, "gsm8k": 220, "math500": 450, "aime2024": 1200, "livecodebench": 400}
UNKNOWN_ANSWER = 400
PROMPT = {"arithmetic": 50}
UNKNOWN_PROMPT = 160


@functools.cache
def _known() -> dict[tuple[str, str], int]:
    """By module ("" for a dataset of one's own) and split."""
    sources = {name: builtin(name) for name in paper.PROBLEMS}
    measured = {(source.module, source.split): paper.PROBLEMS[name] for name, source in sources.items()}
    toy = {("arithmetic", split): count for split, count in arithmetic.SIZES.items()}
    return {("gsm8k", "train"): TRAINING, ("", "train"): TRAINING} | measured | toy


def problems(source: Source, limit: int = 0) -> int:
    """How many problems of a source are asked; `limit` and its own bound them (0: no bound)."""
    return min((n for n in (_known().get((source.module, source.split)), limit, source.limit) if n), default=UNKNOWN)


def lengths(source: Source) -> tuple[int, int]:
    """Mean tokens of a prompt and an answer."""
    return PROMPT.get(source.module, UNKNOWN_PROMPT), ANSWER.get(source.module, UNKNOWN_ANSWER)
