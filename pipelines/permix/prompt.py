"""Every prompt that permix sends to a model is put together here."""

from typing import Literal

from permix.persona import Persona

Messages = list[dict[str, str]]

BOXED = "{problem}\n\nPlease reason step by step, and put your final answer within \\boxed{{}}."
PLAIN = "{problem}"
Instruction = Literal["boxed", "plain"]
INSTRUCTIONS: dict[Instruction, str] = {"boxed": BOXED, "plain": PLAIN}
"""Assumed: the paper prints no instruction. `boxed` is the usual one for maths; the toy world needs none."""


def messages(question: str, persona: Persona | None = None, instruction: Instruction = "boxed") -> Messages:
    """The chat for one problem: the persona's text alone as system message (none for no persona), then the problem."""
    system = [{"role": "system", "content": persona.system_prompt}] if persona and persona.system_prompt else []
    return [*system, {"role": "user", "content": INSTRUCTIONS[instruction].format(problem=question)}]
