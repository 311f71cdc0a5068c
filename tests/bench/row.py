"""One line of the table that `make bench` prints, and the programs that benches start."""

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

SCRIPTS: dict[str, str] = tomllib.loads(Path(__file__).with_name("scripts.toml").read_text(encoding="utf-8"))


@dataclass(frozen=True)
class Row:
    """A measured value, the target it is held against (None: for the record), and what was measured."""

    what: str
    value: float
    target: float | None = None
    sign: Literal["<=", ">="] = "<="
    detail: str = ""

    @property
    def met(self) -> bool:
        """Whether the target is met."""
        if self.target is None:
            return True
        return self.value <= self.target if self.sign == "<=" else self.value >= self.target
