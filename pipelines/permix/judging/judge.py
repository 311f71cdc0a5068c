"""Judges: models that score how well an answer is in character, or say which of two is more so.

A score is what a judge said in the form asked for, or missing; a failure is never a score.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from permix.judging import structured
from permix.judging.structured import Client, Form, Misfit
from permix.prompting.prompts import Messages


@dataclass(frozen=True)
class Item:
    """One thing to judge: the chat that permix.prompting.prompts makes of it."""

    id: str
    messages: Messages


@dataclass(frozen=True)
class Judgement:
    """What a judge said of item `id`.

    `score` is None where it gave none; `status` then says why: a Misfit's word ("empty", "no_json", "out_of_range"),
    "failed" or "not_asked". `raw` holds every reply as it came, `model` the server's own name of the judge.
    """

    id: str
    score: float | None
    raw: tuple[str, ...]
    model: str
    status: str

    @property
    def retries(self) -> int:
        """How often it was asked again."""
        return max(len(self.raw) - 1, 0)


def _chosen(field: str, scores: Mapping[Any, float]) -> Form:
    """A reason first, so that the model thinks before it decides, then one of the keys of `scores`."""
    kind = "integer" if all(isinstance(key, int) for key in scores) else "string"
    allowed = ", ".join(str(key) for key in scores)

    def read(reply: Mapping[str, Any]) -> float:
        value = reply.get(field)
        if isinstance(value, bool | list | dict) or value not in scores:
            raise Misfit("out_of_range", f'"{field}" was {value!r:.50}: it should be one of {allowed}.')
        return scores[value]

    return structured.json_of({"reason": {"type": "string"}, field: {"type": kind, "enum": list(scores)}}, read)


SCORE = _chosen("score", {score: float(score) for score in range(1, 6)})
"""1 to 5 by a rubric."""
PREFERENCE = _chosen("better", {"first": 1.0, "second": -1.0, "neither": 0.0})
"""1 where the first of two answers is more in character, -1 where the second is, 0 where neither."""


class ModelJudge:
    """A served model as a judge; `client.trouble` says why it ended early, if it did."""

    def __init__(self, client: Client, form: Form, what: str, seed: int) -> None:
        """`what` names its journals."""
        self.client, self._form, self._what, self._seed = client, form, what, seed

    def judge(self, items: Sequence[Item]) -> Iterator[Judgement]:
        """Judge every item; what failed or was not reached has no score."""
        asked = {item.id: item.messages for item in items}
        for key, reply in self.client.ask(asked, self._form, self._what, "judge", self._seed).items():
            yield Judgement(key, reply.value, reply.raw, reply.model, reply.fault or "scored")


def again(row: Mapping[str, Any], form: Form) -> dict[str, Any]:
    """`row` with score and status read anew from its stored raw replies; no reply, no score."""
    if not row["raw"] or row["status"] in ("failed", "not_asked"):
        return {**row, "score": None}
    try:
        return {**row, "score": structured.read(row["raw"][-1], form), "status": "scored"}
    except Misfit as misfit:
        return {**row, "score": None, "status": misfit.fault}
