"""The paper's statements as rows: a verbatim quote, its section, and its formula over table cells."""

import itertools
import re
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from permix import paper

Cell = tuple[str, str, str]
"""Row (a variant, a public model or a family), benchmark, measure."""


@dataclass(frozen=True)
class Above:
    """Each of `rows` is above `times` x each of `others`, in every measure on every benchmark."""

    measures: tuple[str, ...]
    rows: tuple[str, ...]
    others: tuple[str, ...]
    benchmarks: tuple[str, ...]
    times: float = 1.0

    def pairs(self) -> Iterator[tuple[Cell, Cell]]:
        """Yield every comparison: the cell that should be above, and the other cell."""
        for benchmark in self.benchmarks:
            for measure in self.measures:
                for row, other in itertools.product(self.rows, self.others):
                    yield (row, benchmark, measure), (other, benchmark, measure)

    def __str__(self) -> str:
        rows, others = (
            names[0] if len(names) == 1 else f"each of {', '.join(names)}" for names in (self.rows, self.others)
        )
        times = "" if self.times == 1 else f"{self.times:g} x "
        return f"{' and '.join(self.measures)} of {rows} > {times}{others} on {', '.join(self.benchmarks)}"


@dataclass(frozen=True)
class Statement:
    """A statement of the paper: the verbatim `quote`, its formula, and how the formula reads it."""

    quote: str
    section: str
    formula: tuple[Above, ...]
    reading: str = ""


_TABLE = tomllib.loads((Path(paper.__file__).parent / "statements.toml").read_text(encoding="utf-8"))
_FORMULA = re.compile(r"(.+) of (.+) > (?:([\d.]+) x )?(.+) on (.+)")
_GROUPS: dict[str, Sequence[str]] = dict(_TABLE["groups"])
for _family in paper.FAMILIES:
    _models = paper.family(_family)
    _GROUPS |= {f"every {_family}": _models, f"smallest {_family}": _models[:1], f"largest {_family}": _models[-1:]}


def _members(names: str) -> tuple[str, ...]:
    return tuple(member for name in names.split(", ") for member in _GROUPS.get(name, (name,)))


def _above(formula: str) -> Above:
    match = _FORMULA.fullmatch(formula)
    assert match, formula
    measures, rows, others, benchmarks = (_members(match[part]) for part in (1, 2, 4, 5))
    return Above(measures, rows, others, benchmarks, float(match[3] or 1))


STATEMENTS = tuple(
    Statement(row["quote"], row["section"], tuple(map(_above, row["formula"])), row.get("reading", ""))
    for row in _TABLE["statement"]
)
