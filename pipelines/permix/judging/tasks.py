"""PersonaGym's five tasks and their questions."""

from typing import Any

from permix.files import storable
from permix.prompting.persona import Persona

Row = dict[str, Any]
TASKS = {
    "expected_action": "Expected Action",
    "action_justification": "Action Justification",
    "linguistic_habits": "Linguistic Habits",
    "persona_consistency": "Persona Consistency",
    "toxicity_control": "Toxicity Control",
}
"""{name in our files: PersonaGym's (Samuel et al. 2025)}."""


def question(persona: Persona, task: str, number: int, text: str, writer: str, description: str = "") -> Row:
    """Return one row of stage questions; `description` is the persona in words if its system prompt has more text."""
    key = f"{persona.key}|{task}|{number}"
    row: Row = {"question_id": key, "persona": persona.key, "category": persona.category}
    row |= {"system_prompt": persona.system_prompt, "description": description or persona.system_prompt}
    row |= {"task": task, "number": number}
    return row | {"question": text, "examples": None, "writer": writer}


def text_of(value: object) -> str:
    """Return a stripped string that UTF-8 can store, "" for another type."""
    return str(storable(value.strip())) if isinstance(value, str) else ""
