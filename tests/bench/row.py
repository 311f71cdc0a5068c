"""One line of the table that `make bench` prints."""

from dataclasses import dataclass
from typing import Literal


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
