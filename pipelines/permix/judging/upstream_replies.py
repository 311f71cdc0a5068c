"""What models reply to upstream's prompts, read: Python lists, numbered examples, numbered evaluations."""

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
    """A Python list of `count` texts; of any number where it is None."""

    def read(text: str) -> list[str]:
        try:
            found = ast.literal_eval(structured.unfenced(text).strip())
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            found = None
        listed = [text_of(item) for item in found] if isinstance(found, list) else []
        if not listed or not all(listed) or len(listed) != (count or len(listed)):
            raise Misfit("no_list", "The reply was no Python list of as many texts as were asked for.")
        return listed

    return Form(read, again=_the_same)


def examples(count: int) -> Form:
    """For each of `count` rubrics an example of each score."""

    def read(text: str) -> list[list[str]]:
        parts = _split(_RUBRIC, text)
        found = [[text_of(e[2]) for e in _EXAMPLE.finditer(parts.get(n, ""))] for n in range(1, count + 1)]
        if any(len(each) != 5 or not all(each) for each in found):
            raise Misfit("too_few", "The reply did not have an example of each score for each rubric.")
        return found

    return Form(read, again=_the_same)


def scores(count: int) -> Form:
    """The score of each of `count` rubrics."""

    def read(text: str) -> list[float]:
        found = [_score(text, place) for place in range(count)]
        if None in found:
            raise Misfit("no_score", "The reply did not have a final score from 1 to 5 for each rubric.")
        return [score for score in found if score is not None]

    return Form(read, again=_the_same)


def said(raw: Sequence[str], status: str, place: int) -> tuple[float | None, str]:
    """Score and status of the answer at `place` of its group, by the last reply."""
    if not raw or status in ("failed", "not_asked"):
        return None, status
    score = _score(raw[-1], place)
    return score, "scored" if score is not None else "no_score" if raw[-1].strip() else "empty"


def _the_same(asked: Messages, reply: str, fault: str) -> Messages:
    """Upstream asks what it asked before."""
    return asked


def _score(text: str, place: int) -> float | None:
    found = _SCORE.search(_split(_EVALUATION, text).get(place + 1, ""))
    return float(found[1]) if found else None


def _split(heading: re.Pattern[str], text: str) -> dict[int, str]:
    """{number: text} of what stands under numbered headings; under the first of equal ones."""
    _, *parts = heading.split(text)
    found: dict[int, str] = {}
    for number, part in zip(parts[::2], parts[1::2], strict=True):
        found.setdefault(int(number), part)
    return found
