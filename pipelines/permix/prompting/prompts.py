"""Every prompt that permix sends to a model is put together here; long ones are text files in prompts/."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from string import Template
from typing import Literal

from permix.prompting.persona import Persona

Messages = list[dict[str, str]]
FOLDER = Path(__file__).with_name("texts")

BOXED = "{problem}\n\nPlease reason step by step, and put your final answer within \\boxed{{}}."
PLAIN = "{problem}"
CODE = "### Question:\n{problem}\n\n### Answer: (use the provided format with backticks)\n\n"
Instruction = Literal["boxed", "plain", "code"]
INSTRUCTIONS: dict[Instruction, str] = {"boxed": BOXED, "plain": PLAIN, "code": CODE}
"""Assumed: the paper prints no instruction. `boxed` is the usual one for maths, `code` LiveCodeBench's; the toy
world needs none."""


def messages(question: str, persona: Persona | None = None, instruction: Instruction = "boxed") -> Messages:
    """The chat for one problem: the persona's text alone as system message (none for no persona), then the problem."""
    system = [{"role": "system", "content": persona.system_prompt}] if persona and persona.system_prompt else []
    return [*system, {"role": "user", "content": INSTRUCTIONS[instruction].format(problem=question)}]


def rewriting(question: str, rationale: str, persona: Persona) -> Messages:
    """The chat that asks for a rationale in the persona's voice (B.2; the paper prints no prompt, this one is ours)."""
    asked = _text("rewrite", persona=persona.system_prompt, question=question, rationale=rationale)
    return [{"role": "user", "content": asked}]


def rewriting_again(asked: Messages, answer: str, fault: str, gold: str) -> Messages:
    """The chat after a rewrite that was rejected, with the reason."""
    again = _text("rewrite_again", fault=fault, gold=gold)
    return [*asked, {"role": "assistant", "content": answer}, {"role": "user", "content": again}]


def quoted(name: str, text: str) -> str:
    """`text` between marks that it cannot hold, for their number is its hash: nothing in it ends the quotation."""
    mark = f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"
    return f"<{mark}>\n{text}\n</{mark}>"


def identity(description: str) -> str:
    """The system prompt that makes a model the person of a bare description."""
    return _text("identity", persona=description.rstrip(". "))


def interviewing(persona: str, task: str, title: str, count: int) -> Messages:
    """The chat that asks for `count` questions to the person that `persona` describes (C.2 prints no prompt)."""
    values = {"persona": quoted("persona", persona), "task": title, "requirement": _text(f"tasks/{task}")}
    return [{"role": "user", "content": _text("questions", count=str(count), **values)}]


def exemplifying(persona: str, task: str, question: str) -> Messages:
    """The chat that asks for an example answer of each score."""
    parts = {"persona": quoted("persona", persona), "question": quoted("question", question)}
    return [{"role": "user", "content": _text("examples", rubric=_text(f"rubrics/{task}"), **parts)}]


def scoring(
    persona: str, task: str, question: str, examples: Sequence[str], answer: str, *, backwards: bool = False
) -> Messages:
    """The chat in which a judge scores an answer by the rubric of `task`.

    `examples` of the scores 1 to 5, or none; `backwards` shows them from 5 to 1.
    """
    parts = {"persona": persona, "question": question, "answer": answer}
    marked = {name: quoted(name, text) for name, text in parts.items()}
    shown = [quoted(f"score-{score}", text) for score, text in enumerate(examples, 1)]
    listed = "\n".join(reversed(shown) if backwards else shown)
    marked["examples"] = f"\nFor comparison, an answer of each score:\n{listed}\n" if examples else ""
    return [
        {"role": "system", "content": _text("score", rubric=_text(f"rubrics/{task}"))},
        {"role": "user", "content": _text("score_item", **marked)},
    ]


def comparing(persona: str, question: str, first: str, second: str) -> Messages:
    """The chat in which a judge says which of two answers is more in character."""
    parts = {"persona": persona, "question": question, "first": first, "second": second}
    marked = {name: quoted(name, text) for name, text in parts.items()}
    return [
        {"role": "system", "content": _text("compare")},
        {"role": "user", "content": _text("compare_item", **marked)},
    ]


def restating(question: str, solution: str, persona: Persona, instruction: Instruction) -> Messages:
    """The chat that asks for a solution again in the persona's voice, with its answer (shared.peers; prompt ours)."""
    asked = INSTRUCTIONS[instruction].format(problem=question)
    text = _text("restate", question=asked, solution=quoted("solution", solution))
    return [{"role": "system", "content": persona.system_prompt}, {"role": "user", "content": text}]


def choosing(question: str, first: str, second: str) -> Messages:
    """The chat in which a model says which of two solutions has the right answer (stages.shared.peers; prompt ours)."""
    parts = {"first": quoted("solution-1", first), "second": quoted("solution-2", second)}
    return [{"role": "user", "content": _text("choose", question=quoted("problem", question), **parts)}]


def again(asked: Messages, reply: str, fault: str) -> Messages:
    """The chat after a reply that did not have the form asked for, with the reason; an empty one is just asked anew."""
    if not reply.strip():
        return asked
    said = {"role": "user", "content": _text("again", fault=fault)}
    return [*asked, {"role": "assistant", "content": reply}, said]


def templates(*names: str) -> dict[str, str]:
    """The text files of prompts/ with these names, as they are."""
    return {name: (FOLDER / f"{name}.txt").read_text(encoding="utf-8").strip() for name in names}


def _text(name: str, **values: str) -> str:
    """The prompt prompts/<name>.txt with its $names filled in; what is filled in may hold any character."""
    return Template(templates(name)[name]).substitute(values)
