"""Every prompt that permix sends to a model; long ones are text files in texts/."""

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
"""Assumed: the paper prints no instruction. `boxed` is usual for maths, `code` is LiveCodeBench's; the toy world needs
none."""


def messages(question: str, persona: Persona | None = None, instruction: Instruction = "boxed") -> Messages:
    """Return the chat for one problem: the persona's text as system message, if any, then the problem."""
    system = [{"role": "system", "content": persona.system_prompt}] if persona and persona.system_prompt else []
    return [*system, {"role": "user", "content": INSTRUCTIONS[instruction].format(problem=question)}]


def rewriting(question: str, rationale: str, persona: Persona) -> Messages:
    """Return the chat that asks for a rationale in the persona's voice (B.2; prompt ours, not the paper's)."""
    text = _text("rewrite", persona=persona.system_prompt, question=question, rationale=rationale)
    return [{"role": "user", "content": text}]


def rewriting_again(chat: Messages, answer: str, fault: str, gold: str) -> Messages:
    """Return the chat after a rejected rewrite, with the reason."""
    text = _text("rewrite_again", fault=fault, gold=gold)
    return [*chat, {"role": "assistant", "content": answer}, {"role": "user", "content": text}]


def quoted(name: str, text: str) -> str:
    """Return `text` between marks with its hash, so that nothing in it can end the quotation."""
    mark = f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"
    return f"<{mark}>\n{text}\n</{mark}>"


def identity(description: str) -> str:
    """Return the system prompt that makes a model play the person of a description."""
    return _text("identity", persona=description.rstrip(". "))


def interviewing(persona: str, task: str, title: str, count: int) -> Messages:
    """Return the chat that asks for `count` questions to the person that `persona` describes (C.2 prints no prompt)."""
    values = {"persona": quoted("persona", persona), "task": title, "requirement": _text(f"tasks/{task}")}
    return [{"role": "user", "content": _text("questions", count=str(count), **values)}]


def exemplifying(persona: str, task: str, question: str) -> Messages:
    """Return the chat that asks for an example answer of each score."""
    parts = {"persona": quoted("persona", persona), "question": quoted("question", question)}
    return [{"role": "user", "content": _text("examples", rubric=_text(f"rubrics/{task}"), **parts)}]


def scoring(
    persona: str, task: str, question: str, examples: Sequence[str], answer: str, *, backwards: bool = False
) -> Messages:
    """Return the chat that scores an answer by `task`'s rubric; `examples` are shown 1 to 5, or `backwards`."""
    parts = {"persona": persona, "question": question, "answer": answer}
    marked = {name: quoted(name, text) for name, text in parts.items()}
    scored = [quoted(f"score-{score}", text) for score, text in enumerate(examples, 1)]
    listed = "\n".join(reversed(scored) if backwards else scored)
    marked["examples"] = f"\nFor comparison, an answer of each score:\n{listed}\n" if examples else ""
    rules = _text("score", rubric=_text(f"rubrics/{task}"))
    return [{"role": "system", "content": rules}, {"role": "user", "content": _text("score_item", **marked)}]


def comparing(persona: str, question: str, first: str, second: str) -> Messages:
    """Return the chat in which a judge chooses the answer that is more in character."""
    parts = {"persona": persona, "question": question, "first": first, "second": second}
    text = _text("compare_item", **{name: quoted(name, text) for name, text in parts.items()})
    return [{"role": "system", "content": _text("compare")}, {"role": "user", "content": text}]


def restating(question: str, solution: str, persona: Persona, instruction: Instruction) -> Messages:
    """Return the chat that asks to restate a solution in the persona's voice (prompt ours, not the paper's)."""
    task = INSTRUCTIONS[instruction].format(problem=question)
    text = _text("restate", question=task, solution=quoted("solution", solution))
    return [{"role": "system", "content": persona.system_prompt}, {"role": "user", "content": text}]


def choosing(question: str, first: str, second: str) -> Messages:
    """Return the chat that asks which of two solutions has the right answer (prompt ours, not the paper's)."""
    parts = {"first": quoted("solution-1", first), "second": quoted("solution-2", second)}
    return [{"role": "user", "content": _text("choose", question=quoted("problem", question), **parts)}]


def again(chat: Messages, reply: str, fault: str) -> Messages:
    """Return the chat after a reply in a wrong form, with the reason; after an empty reply, the chat unchanged."""
    if not reply.strip():
        return chat
    correction = {"role": "user", "content": _text("again", fault=fault)}
    return [*chat, {"role": "assistant", "content": reply}, correction]


def templates(*names: str) -> dict[str, str]:
    """Return the text files of texts/ with these names."""
    return {name: (FOLDER / f"{name}.txt").read_text(encoding="utf-8").strip() for name in names}


def _text(name: str, **values: str) -> str:
    """Return texts/<name>.txt with its $names filled in; the values may hold any character."""
    return Template(templates(name)[name]).substitute(values)
