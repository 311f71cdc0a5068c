"""Read the replies to upstream's prompts: Python lists, numbered examples, numbered evaluations."""

import ast
import re
from collections.abc import Sequence

from permix.judging import structured
from permix.judging.structured import Form, Misfit
from permix.judging.tasks import text_of
from permix.prompting.prompts import Messages

_EVALUATION = re.compile(r"\((\d+)\)\s*Evaluation:")
_SCORE = re.compile(r"final score is[\s:*]*([1-5])(?![\d.]*\d)", re.IGNORECASE)
_RUBRIC = re.compile(r"Rubric\s+(\d+)\s+Examples:", re.IGNORECASE)
_EXAMPLE = re.compile(r"Score\s+([1-5]):\s*(?:Response\s*-\s*)?(.*?)(?=Score\s+[1-5]:|\Z)", re.DOTALL)


def texts(count: int | None) -> Form:
    """Return the form of a Python list of `count` texts; None allows any number."""

    def read(text: str) -> list[str]:
        try:
            reply = ast.literal_eval(structured.unfenced(text).strip())
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            reply = None
        listed = [text_of(element) for element in reply] if isinstance(reply, list) else []
        if not listed or not all(listed) or len(listed) != (count or len(listed)):
            raise Misfit("no_list", "The reply was not a Python list of the requested number of texts.")
        return listed

    return Form(read, again=_the_same)


def examples(count: int) -> Form:
    """Return the form of an example of each score for each of `count` rubrics."""

    def read(text: str) -> list[list[str]]:
        parts = _split(_RUBRIC, text)
        by_rubric = [[text_of(e[2]) for e in _EXAMPLE.finditer(parts.get(n, ""))] for n in range(1, count + 1)]
        if any(len(each) != 5 or not all(each) for each in by_rubric):
            raise Misfit("too_few", "The reply did not have an example of each score for each rubric.")
        return by_rubric

    return Form(read, again=_the_same)


def scores(count: int) -> Form:
    """Return the form of a score for each of `count` rubrics."""

    def read(text: str) -> list[float]:
        known = [score for position in range(count) if (score := _score(text, position)) is not None]
        if len(known) < count:
            raise Misfit("no_score", "The reply did not have a final score from 1 to 5 for each rubric.")
        return known

    return Form(read, again=_the_same)


def score_at(raw: Sequence[str], status: str, position: int) -> tuple[float | None, str]:
    """Return score and status of the answer at `position` of its group, by the last reply."""
    if not raw or status in ("failed", "not_asked"):
        return None, status
    score = _score(raw[-1], position)
    return score, "scored" if score is not None else "no_score" if raw[-1].strip() else "empty"


def _the_same(chat: Messages, reply: str, fault: str) -> Messages:
    """Return the same chat, as upstream does."""
    return chat


def _score(text: str, position: int) -> float | None:
    match = _SCORE.search(_split(_EVALUATION, text).get(position + 1, ""))
    return float(match[1]) if match else None


def _split(heading: re.Pattern[str], text: str) -> dict[int, str]:
    """Return {number: text} under numbered headings; of equal headings the first counts."""
    _, *parts = heading.split(text)
    by_number: dict[int, str] = {}
    for number, part in zip(parts[::2], parts[1::2], strict=True):
        by_number.setdefault(int(number), part)
    return by_number
