"""Competitors of persona-robust training at inference time: several completions of one model for one answer.

A peer is a row of PEERS: rounds of steps, which may read the completions of earlier rounds, and the choice of the step
whose completion is the answer. An ordinary sweep is the row with one step. The row of a condition follows from its
completions only, so `permix verify` can recompute it.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from permix.prompting import prompts
from permix.prompting.persona import Persona
from permix.prompting.prompts import Instruction, Messages
from permix.verifier import Kind, answer, code

Name = Literal["", "restate", "ensemble"]
Texts = Mapping[str, str]
"""{step: completion} of one condition, of the rounds so far."""


@dataclass(frozen=True)
class Question:
    """The problem and the persona of one condition."""

    text: str
    kind: Kind
    instruction: Instruction
    persona: Persona

    def chat(self, persona: Persona | None) -> Messages:
        """Return the prompt of an ordinary sweep."""
        return prompts.messages(self.text, persona, self.instruction)


@dataclass(frozen=True)
class Step:
    """One completion; `chat` returns its prompt, None for a condition that does not need it."""

    name: str
    chat: Callable[[Question, Texts], Messages | None]


@dataclass(frozen=True)
class Peer:
    """A method to answer; `answer` returns the step whose completion is graded, `title` follows the variant's."""

    title: str
    rounds: tuple[tuple[Step, ...], ...]
    answer: Callable[[Texts], str]

    @property
    def most(self) -> int:
        """The maximum number of completions for an answer."""
        return sum(map(len, self.rounds))


def _in_character(question: Question, _: Texts) -> Messages | None:
    return question.chat(question.persona) if question.persona.system_prompt else None


def _neutral(question: Question, _: Texts) -> Messages:
    return question.chat(None)


def _restated(question: Question, texts: Texts) -> Messages | None:
    if not question.persona.system_prompt:
        return None
    return prompts.restating(question.text, texts["neutral"], question.persona, question.instruction)


def _judged(first: str, second: str) -> Callable[[Question, Texts], Messages | None]:
    def chat(question: Question, texts: Texts) -> Messages | None:
        answers = {_answer(texts.get(step, ""), question.kind) for step in ("persona", "neutral")}
        if "persona" not in texts or len(answers) == 1:
            return None
        return prompts.choosing(question.text, texts[first], texts[second])

    return chat


def _answer(completion: str, kind: Kind) -> str | None:
    """Return the answer for a comparison as text; two spellings of one formula differ and cost a judgement."""
    if kind == "code":
        return code.find(completion)
    text = answer.find(completion, kind=kind)
    return (answer.integer(text) or text) if text else None


_BETTER = re.compile(r"\bbetter\W{1,9}([12])\b", re.IGNORECASE)


def _preferred(texts: Texts) -> str:
    """Return `neutral` if the judge prefers that answer in both orders, otherwise `persona`, which is in character."""
    votes = [(_BETTER.findall(texts.get(step, "")) or [""])[-1] for step in ("judged", "judged-swapped")]
    return "neutral" if votes == ["2", "1"] or "persona" not in texts else "persona"


PEERS: dict[str, Peer] = {
    "": Peer("", ((Step("", lambda question, _: question.chat(question.persona)),),), lambda _: ""),
    "restate": Peer(
        "solved plainly, restated in character",
        ((Step("neutral", _neutral),), (Step("restated", _restated),)),
        lambda texts: "restated" if "restated" in texts else "neutral",
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

restate     the model solves the problem without a persona and restates the solution in character in a second call.
ensemble    after Jekyll & Hyde of Kim, Yang and Jung, "Persona is a Double-edged Sword" (arXiv 2408.08631): the model
            answers with and without the persona and, if the answers differ, judges them in both orders, against its
            position bias. The original writes a persona for each problem and judges again when the orders disagree;
            here the persona is the sweep's, and its answer counts in that case.
"""
