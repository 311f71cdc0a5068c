"""The voices: each persona's words before and after its sum, and its role in a system prompt."""

import csv
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Voice:
    """One way of speaking. `role` follows "You are" in a system prompt; each marker belongs to this voice alone."""

    role: str
    openers: tuple[str, str]
    closers: tuple[str, str]

    @property
    def markers(self) -> tuple[str, ...]:
        """Every string that only this voice uses."""
        return self.openers + self.closers


with Path(__file__).with_name("voices.csv").open(encoding="utf-8", newline="") as _file:
    _, *_ROWS = csv.reader(_file)
VOICES = {key: Voice(role, (opener, other), (closer, last)) for key, role, opener, other, closer, last in _ROWS}
OWN_VOICE = Voice("", ("In my own way:", "As I would say:"), ("That is me.", "So say I."))
"""The voice of every persona that is not the paper's."""


def voice_of(persona_key: str) -> Voice:
    """Return the voice of a persona."""
    return VOICES.get(persona_key, OWN_VOICE)
