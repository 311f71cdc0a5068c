"""PersonaGym's five tasks, and the questions of them."""

from typing import Any

from permix.prompting.persona import Persona

Row = dict[str, Any]
TASKS = {
    "expected_action": "Expected Action",
    "action_justification": "Action Justification",
    "linguistic_habits": "Linguistic Habits",
    "persona_consistency": "Persona Consistency",
    "toxicity_control": "Toxicity Control",
}
"""PersonaGym's (Samuel et al. 2025), by the names in our files."""


def question(who: Persona, task: str, number: int, text: str, writer: str, description: str = "") -> Row:
    """One row of stage questions; `description` is the person in words, where the system prompt says more than that."""
    key = f"{who.key}|{task}|{number}"
    row: Row = {"question_id": key, "persona": who.key, "category": who.category, "system_prompt": who.system_prompt}
    row |= {"description": description or who.system_prompt, "task": task, "number": number}
    return row | {"question": text, "examples": None, "writer": writer}


def text_of(value: object) -> str:
    """A string as it can be stored: JSON may escape half a character."""
    return value.strip().encode("utf-8", "replace").decode() if isinstance(value, str) else ""
