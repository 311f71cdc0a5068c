"""Does a judge follow what should not count? Some answers are scored again with only that changed.

Position: the examples of the scores are shown from 5 to 1. Verbosity: the answer is said twice, one after the other
(the repetition of Zheng et al. 2023, section 3.3). What either changes is held against the same question asked again.
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
"""By what is changed, the chat of a question and its answer."""


def chosen(questions: Mapping[str, Row], answers: Mapping[str, str], count: int) -> tuple[dict[str, Row], list[Item]]:
    """Of `count` answers that are not empty, drawn by their questions' ids: {id: columns} and what a judge is asked."""
    known = sorted((key for key, answer in answers.items() if answer.strip()), key=_drawn)[:count]
    rows = {
        f"{key}|{check}": {"question_id": key, "persona": questions[key]["persona"], "check": check}
        for key in known
        for check in CHECKS
        if questions[key]["examples"] or check != "examples_backwards"
    }
    chats = {
        name: CHECKS[row["check"]](questions[row["question_id"]], answers[row["question_id"]])
        for name, row in rows.items()
    }
    return rows, [Item(name, chat) for name, chat in chats.items()]


def _drawn(key: str) -> str:
    return hashlib.sha256(f"check\0{key}".encode()).hexdigest()
