"""Judges: models that score how well answers are in character. A reply without the form is a missing score."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from permix.judging import structured
from permix.judging.structured import Client, Form, Misfit
from permix.prompting.prompts import Messages

_PLAIN = re.compile(
    r"""[\s*_`'"(]*(?:the\s+)?([a-z]+|\d)(?:\.0+)?(?:\s*(?:/|out\s+of)\s*5|\s+(?:one|answer))?[\s*_`'").!]*""",
    re.IGNORECASE,
)
"""A choice with spaces, quotes or emphasis around it; a score may have its denominator."""


@dataclass(frozen=True)
class Item:
    """An answer or a pair to judge, as a chat of permix.prompting.prompts."""

    id: str
    messages: Messages


@dataclass(frozen=True)
class Judgement:
    """A judge's verdict on item `id`.

    A missing `score` is None, and `status` is the reason: a Misfit's word ("empty", "no_json", "out_of_range"),
    "failed" or "not_asked". `raw` has every reply as received, `model` the server's name of the judge.
    """

    id: str
    score: float | None
    raw: tuple[str, ...]
    model: str
    status: str

    @property
    def retries(self) -> int:
        """The number of repeated requests."""
        return max(len(self.raw) - 1, 0)


def _chosen(field: str, scores: Mapping[Any, float]) -> Form:
    """Return the form of a reason (first, so that the model thinks before it decides) and one key of `scores`."""
    kind = "integer" if all(isinstance(key, int) for key in scores) else "string"
    by_name = {str(key): score for key, score in scores.items()}

    def read(reply: Mapping[str, Any]) -> float:
        values = [value for key, value in reply.items() if key.strip().lower() == field]
        value = values[0] if len(values) == 1 else None
        match = None if isinstance(value, bool) else _PLAIN.fullmatch(str(value))
        if match is None or match[1].lower() not in by_name:
            raise Misfit("out_of_range", f'"{field}" was {value!r:.50}: it should be one of {", ".join(by_name)}.')
        return by_name[match[1].lower()]

    return structured.json_of({"reason": {"type": "string"}, field: {"type": kind, "enum": list(scores)}}, read)


SCORE = _chosen("score", {score: float(score) for score in range(1, 6)})
"""1 to 5 by a rubric."""
PREFERENCE = _chosen("better", {"first": 1.0, "second": -1.0, "neither": 0.0})
"""1 where the first of two answers is more in character, -1 where the second is, 0 where neither."""


class ModelJudge:
    """A served model as a judge; `client.trouble` is the reason if it ended early."""

    def __init__(self, client: Client, form: Form, journal: str, seed: int) -> None:
        self.client, self._form, self._journal, self._seed = client, form, journal, seed

    def judge(self, items: Sequence[Item]) -> Iterator[Judgement]:
        """Judge every item; an item that failed or was not reached gets a missing score."""
        chats = {item.id: item.messages for item in items}
        for key, reply in self.client.ask(chats, self._form, self._journal, "judge", self._seed).items():
            yield Judgement(key, reply.value, reply.raw, reply.model, reply.fault or "scored")


def again(row: Mapping[str, Any], form: Form) -> dict[str, Any]:
    """Return `row` with score and status read again from its stored raw replies."""
    if not row["raw"] or row["status"] in ("failed", "not_asked"):
        return {**row, "score": None}
    try:
        return {**row, "score": structured.read(row["raw"][-1], form), "status": "scored"}
    except Misfit as misfit:
        return {**row, "score": None, "status": misfit.fault}
