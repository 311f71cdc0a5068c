"""What persona-robust training competes with at inference time: several completions of one model for one answer.

A peer is a row of PEERS: rounds of steps, each of which may read the completions of the rounds before, and the choice
of the step whose completion is the answer. An ordinary sweep is the row with one step. The row of a condition is
computed from its completions alone, so `permix verify` computes it again.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from permix.prompting import prompts
from permix.prompting.persona import Persona
from permix.prompting.prompts import Instruction, Messages
from permix.verifier import Kind, code
from permix.verifier import answer as answers

Name = Literal["", "restate", "ensemble"]
Texts = Mapping[str, str]
"""{step: completion} of one condition, as far as it has come."""


@dataclass(frozen=True)
class Question:
    """What one condition asks, and under which persona."""

    text: str
    kind: Kind
    instruction: Instruction
    persona: Persona

    def chat(self, persona: Persona | None) -> Messages:
        """The problem as an ordinary sweep asks it."""
        return prompts.messages(self.text, persona, self.instruction)


@dataclass(frozen=True)
class Step:
    """One completion; `chat` gives None where this condition does not need it."""

    name: str
    chat: Callable[[Question, Texts], Messages | None]


@dataclass(frozen=True)
class Peer:
    """A way to answer; `answer` names the step whose completion is graded, `title` stands behind the variant's."""

    title: str
    rounds: tuple[tuple[Step, ...], ...]
    answer: Callable[[Texts], str]

    @property
    def most(self) -> int:
        """How many completions an answer takes at most."""
        return sum(map(len, self.rounds))


def _in_character(asked: Question, _: Texts) -> Messages | None:
    return asked.chat(asked.persona) if asked.persona.system_prompt else None


def _neutral(asked: Question, _: Texts) -> Messages:
    return asked.chat(None)


def _restated(asked: Question, made: Texts) -> Messages | None:
    if not asked.persona.system_prompt:
        return None
    return prompts.restating(asked.text, made["neutral"], asked.persona, asked.instruction)


def _judged(first: str, second: str) -> Callable[[Question, Texts], Messages | None]:
    def chat(asked: Question, made: Texts) -> Messages | None:
        if "persona" not in made or _said(made["persona"], asked.kind) == _said(made["neutral"], asked.kind):
            return None
        return prompts.choosing(asked.text, made[first], made[second])

    return chat


def _said(completion: str, kind: Kind) -> str | None:
    """The answer as two completions are compared: other writings of one formula differ, which costs a judgement."""
    if kind == "code":
        return code.find(completion)
    text = answers.find(completion, kind=kind)
    return (answers.integer(text) or text) if text else None


_BETTER = re.compile(r"\bbetter\W{1,9}([12])\b", re.IGNORECASE)


def _preferred(made: Texts) -> str:
    """The neutral answer where the judge prefers it in both orders, else the persona's: that one is in character."""
    votes = [(_BETTER.findall(made.get(step, "")) or [""])[-1] for step in ("judged", "judged-swapped")]
    return "neutral" if votes == ["2", "1"] or "persona" not in made else "persona"


PEERS: dict[str, Peer] = {
    "": Peer("", ((Step("", lambda asked, _: asked.chat(asked.persona)),),), lambda _: ""),
    "restate": Peer(
        "solved plainly, restated in character",
        ((Step("neutral", _neutral),), (Step("restated", _restated),)),
        lambda made: "restated" if "restated" in made else "neutral",
    ),
    "ensemble": Peer(
        "persona/neutral ensemble with a judge",
        (
            (Step("persona", _in_character), Step("neutral", _neutral)),
            (
                Step("judged", _judged("persona", "neutral")),
                Step("judged-swapped", _judged("neutral", "persona")),
            ),
        ),
        _preferred,
    ),
}
"""By the name in [sweep] peer. The control `none` has no character, so it takes one completion in every peer.

restate     the model solves the problem without a persona and, in a second call, says that solution in character.
ensemble    after Jekyll & Hyde of Kim, Yang and Jung, "Persona is a Double-edged Sword" (arXiv 2408.08631): an answer
            under the persona, one without, and the same model judges where they differ, in both orders against its
            bias for a position. Theirs writes a persona for each problem and judges anew when the orders disagree; here
            the persona is the sweep's, and its answer stands then.
"""
