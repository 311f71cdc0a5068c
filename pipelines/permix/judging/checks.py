"""Check whether irrelevant changes move a judge's scores: some answers are scored again with one change.

Position: the examples of the scores are in the order 5 to 1. Verbosity: the answer stands twice (the repetition of
Zheng et al. 2023, section 3.3). Both are compared with a plain repetition of the same question.
"""

import hashlib
from collections.abc import Callable, Mapping
from typing import Any

from permix.judging import own
from permix.judging.judge import Item
from permix.prompting.prompts import Messages

Row = dict[str, Any]
CHECKS: dict[str, Callable[[Row, str], Messages]] = {
    "repeated": lambda row, answer: own.scoring(row, answer),
    "examples_backwards": lambda row, answer: own.scoring(row, answer, backwards=True),
    "said_twice": lambda row, answer: own.scoring(row, f"{answer}\n\n{answer}"),
}
"""{change: the chat of a question and its answer}."""


def chosen(questions: Mapping[str, Row], answers: Mapping[str, str], count: int) -> tuple[dict[str, Row], list[Item]]:
    """Draw `count` answers that are not empty by their questions' ids; return {id: columns} and the items to judge."""
    filled = (key for key, answer in answers.items() if answer.strip())
    known = sorted(filled, key=lambda key: hashlib.sha256(f"check\0{key}".encode()).hexdigest())[:count]
    rows = {
        f"{key}|{check}": {"question_id": key, "persona": questions[key]["persona"], "check": check}
        for key in known
        for check in CHECKS
        if questions[key]["examples"] or check != "examples_backwards"
    }
    return rows, [
        Item(name, CHECKS[row["check"]](questions[row["question_id"]], answers[row["question_id"]]))
        for name, row in rows.items()
    ]
