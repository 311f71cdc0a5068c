"""Read the replies to upstream's prompts: Python lists, numbered examples, numbered evaluations."""

import ast
import re
from collections.abc import Sequence

from permix.judging import structured
from permix.judging.structured import Form, Misfit
from permix.judging.tasks import text_of
from permix.prompting.prompts import Messages
from permix.verifier.answer import without_reasoning

_EVALUATION = re.compile(r"\([\s*_]*(\d+)[\s*_]*\)[\s*_#]*Evaluation[\s*_]*:", re.IGNORECASE)
_STATEMENT = re.compile(
    r"""\bfinal\s+(?:evaluation\s+)?score\b (?:\s*\([^()\n]*\)|\s+(?:for|of|on|given)\b[^.:=\n]{0,60}?)? [\s*_]*
    (?:\bis\b|\bwas\b|[:=→|]|\s[-–—]\s|(?P<weak>would|could|might)\s+be\b|(?:should|must|will)\s+be\b) [\s:=*_]*
    (?:(?:therefore|thus|an?|solid|clear)\s+)* [\s*_`"'$(\[]* (?:\\boxed\s*\{)?\s*
    (?P<score>[-+−]?\d+(?:[.,]\d+)*
    |[<>≤≥~]|(?:not|between|at|around|about|approximately|roughly|either|less|more|above|below|over|under)\b[^.\n]*\d)""",
    re.IGNORECASE | re.VERBOSE,
)
_WEAK = re.compile(
    r"\b(?:if|unless)\b[^.!?\n]*$|(?:^|[.!?\n])\W*had\b[^.!?\n]*$|\b(?:overall|average|mean|total)\s*$", re.I
)
_MARKS = r"[ \t*_`\"'(\[)\]}$]*"
_OF_FIVE = re.compile(
    rf"{_MARKS}(?:/|(?:out\s+)?of\b){_MARKS}(?:a\s+(?:possible|maximum)\s+)?5(?:\.0+)?(?![\d.]*\d)", re.I
)
_SEVERAL = re.compile(
    rf"{_MARKS}(?:points?\b{_MARKS})?(?:%|(?:[-–—~&/,]|(?:to|or|and|through|of|out\s+of)\b)(?:\s*(?:or|and)\b)?{_MARKS}\d"
    r"|on\s+(?:a|the)\b[^.\n]*?(?:to|[-–])\s*(?!5\b)\d)",
    re.IGNORECASE,
)
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
        parts = dict(reversed(_split(_RUBRIC, text)))  # of equal headings the first counts
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
    """Return the score of the last final statement; a condition ("if …") counts only where there is no other."""
    evaluation = "\n".join(part for number, part in _split(_EVALUATION, text) if number == position + 1)
    statements = [
        (not (match["weak"] or _WEAK.search(evaluation[max(0, match.start() - 300) : match.start()])), number, match)
        for number, match in enumerate(_STATEMENT.finditer(evaluation))
    ]
    if not statements:
        return None
    *_, match = max(statements, key=lambda statement: statement[:2])
    of_five = _OF_FIVE.match(evaluation, match.end())
    several = _SEVERAL.match(evaluation, of_five.end() if of_five else match.end())
    return float(match["score"]) if re.fullmatch(r"[1-5](?:\.0+)?", match["score"]) and not several else None


def _split(heading: re.Pattern[str], text: str) -> list[tuple[int, str]]:
    """Return number and text of each numbered heading behind the reasoning."""
    _, *parts = heading.split(without_reasoning(text) or "")
    return list(zip(map(int, parts[::2]), parts[1::2], strict=True))
