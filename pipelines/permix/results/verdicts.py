"""Do the paper's statements hold, on its own printed cells and on ours?

A statement holds when every comparison of its formula does; it is inside the noise when those that decide could be
chance. For printed cells that is a rough bound, since the paper prints no intervals: independent completions behind an
accuracy, a spread of 1 among judges' scores.
"""

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from permix import paper
from permix.results import claims
from permix.results.statements import STATEMENTS, Cell, Statement

TOY = {"gsm8k": "arithmetic", "math500": "arithmetic-long"}
"""The toy world's benchmarks of the same role: problems of the training kind, and longer ones."""

TOY_STANDS_FOR = "In the toy world arithmetic stands for GSM8K, arithmetic-long for MATH500, voice for PersonaGym."


class Source(Protocol):
    """Where cells come from."""

    def value(self, cell: Cell) -> float | None:
        """The cell, None where there is none."""
        ...

    def interval(self, left: Cell, right: Cell) -> tuple[float, float] | None:
        """The 95 % interval of left - right, None where it cannot be said."""
        ...


class Printed:
    """The paper's own cells."""

    def __init__(self) -> None:
        self._cells = dict(paper.values())
        for name in paper.FAMILIES:
            for benchmark in ("math500", "aime2024"):
                found = [self._cells[model, benchmark, "pss"] for model in paper.family(name)]
                self._cells |= {(name, benchmark, "pss"): math.fsum(found) / len(found)}

    def value(self, cell: Cell) -> float | None:
        """The printed number."""
        return self._cells.get(cell)

    def interval(self, left: Cell, right: Cell) -> tuple[float, float] | None:
        """Normal, from the two cells' rough standard errors."""
        errors = self._error(left), self._error(right)
        values = self.value(left), self.value(right)
        if None in errors or None in values:
            return None
        half = 1.96 * math.hypot(*errors)  # type: ignore[arg-type]
        return values[0] - values[1] - half, values[0] - values[1] + half  # type: ignore[operator]

    def _error(self, cell: Cell) -> float | None:
        row, benchmark, measure = cell
        if benchmark == "personagym":
            return 1 / math.sqrt(paper.JUDGEMENTS * (5 if measure == "mean" else 1))
        answers = paper.PROBLEMS[benchmark] * paper.RUNS
        if measure != "pss":
            share = min(max(self._cells[cell], 0.5 / answers), 1 - 0.5 / answers)  # none or all right is no certainty
            return math.sqrt(share * (1 - share) / answers / (16 if measure == "mean" else 1))
        worst, best = self._ends(row, benchmark)
        if not worst or not best:
            return None
        return worst / best * math.sqrt((1 - worst) / worst / answers + (1 - best) / best / answers)

    def _ends(self, row: str, benchmark: str) -> tuple[float, float]:
        """Worst and best; for a public model from its personas' accuracies, none for a family's mean."""
        found = [self._cells.get((row, benchmark, end)) for end in ("worst", "best")]
        if found[0] is not None and found[1] is not None:
            return found[0], found[1]
        shares = [value for (model, on, _), value in paper.accuracies().items() if (model, on) == (row, benchmark)]
        return (min(shares), max(shares)) if shares else (0.0, 0.0)


@dataclass(frozen=True)
class Measured:
    """Our cells: the rows of all sweeps and PersonaGym scores (stage tables), and the paired test of two of them.

    In the toy world its own benchmarks stand for the paper's by role, and voice for PersonaGym's consistency. A public
    model's row is the model of that name, a family's the mean over all its models.
    """

    rows: Sequence[Mapping[str, Any]]
    paired: Callable[[Mapping[str, Any], Mapping[str, Any]], Mapping[str, float]]
    toy: bool
    base_slug: str = ""

    @functools.cached_property
    def _models(self) -> dict[str, str]:
        """{public model of the paper's: the variant that it is here}."""
        names = dict.fromkeys(row["variant"] for row in self.rows)
        return {model: name for name in names for model in paper.rows_of(name, self.base_slug) if model != name}

    def value(self, cell: Cell) -> float | None:
        """The mean over seeds, of a family over its models; None where one of them is missing."""
        benchmark, measure = self._ours(cell)
        if cell[0] in paper.FAMILIES:
            models = paper.family(cell[0])
            found = [value for model in models if (value := self.value((model, *cell[1:]))) is not None]
            return math.fsum(found) / len(found) if len(found) == len(models) else None
        name = self._models.get(cell[0], cell[0])
        found = [r[measure] for r in self._on(benchmark) if r["variant"] == name and r.get(measure) is not None]
        return math.fsum(found) / len(found) if found else None

    def interval(self, left: Cell, right: Cell) -> tuple[float, float] | None:
        """Over seeds, or the paired test of a single one, as for every other difference of ours; none for families."""
        benchmark, measure = self._ours(left)
        first, second = (self._models.get(cell[0], cell[0]) for cell in (right, left))
        found = claims.examine(claims.Claim(measure, first, second, "rises"), self._on(benchmark), self.paired)
        return None if found is None or found["low"] is None else (found["low"], found["high"])

    def _on(self, benchmark: str) -> list[Mapping[str, Any]]:
        return [row for row in self.rows if row["benchmark"] == benchmark]

    def _ours(self, cell: Cell) -> tuple[str, str]:
        if not self.toy:
            return cell[1], cell[2]
        if cell[1:] == ("personagym", "persona_consistency"):
            return TOY["gsm8k"], "voice"
        return TOY.get(cell[1], ""), cell[2]


def examine(statement: Statement, source: Source) -> dict[str, Any]:
    """`verdict` (holds, fails, not measured), how many of its comparisons hold, and whether it is inside the noise.

    It is not measured where a cell is missing. Where it fails, the comparisons that fail decide; else all of them.
    """
    compared = [(part.times, *pair) for part in statement.formula for pair in part.pairs()]
    cells = [(source.value(left), source.value(right)) for _, left, right in compared]
    if any(one is None or two is None for one, two in cells):
        return {"verdict": "not measured", "holding": 0, "of": len(compared), "inside_noise": None}
    holds = [one > times * two for (times, *_), (one, two) in zip(compared, cells, strict=True)]  # type: ignore[operator]
    deciding = [c for c, held in zip(compared, holds, strict=True) if held == all(holds)]
    sure = [_sure(source, *comparison) for comparison in deciding]
    return {
        "verdict": "holds" if all(holds) else "fails",
        "holding": sum(holds),
        "of": len(compared),
        "inside_noise": not (all(sure) if all(holds) else any(sure)),
    }


def table(ours: Source | None = None) -> list[dict[str, Any]]:
    """Every statement with its verdict on the paper's numbers and, where there are some, on ours."""
    printed, rows = Printed(), []
    for number, said in enumerate(STATEMENTS, 1):
        row = {"number": number, "quote": said.quote, "section": said.section, "reading": said.reading}
        row |= {"formula": "; ".join(map(str, said.formula)), "paper": examine(said, printed)}
        rows.append(row | {"ours": examine(said, ours) if ours else None})
    return rows


def verdict(found: Mapping[str, Any] | None) -> str:
    """A verdict in words."""
    if found is None or found["verdict"] == "not measured":
        return "not measured"
    many = found["verdict"] == "fails" and found["of"] > 1
    part = f" ({found['of'] - found['holding']} of {found['of']})" if many else ""
    return f"{found['verdict']}{part}{', inside the noise' if found['inside_noise'] else ''}"


def _sure(source: Source, times: float, left: Cell, right: Cell) -> bool:
    """Whether left - times x right cannot be chance; False where no interval is known.

    Of a factor above 1 only the difference itself is asked: the printed factor is its own estimate.
    """
    ends, value = source.interval(left, right), source.value(right)
    if ends is None or value is None:
        return False
    low, high = (end - (min(times, 1.0) - 1) * value for end in ends)
    return low > 0 or high < 0
