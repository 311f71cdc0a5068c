"""Verdicts on the paper's statements, from its own printed cells and from ours.

A statement holds if every comparison of its formula holds. RULE defines when a verdict is inside the noise. The paper
prints no intervals, so those of its cells are rough: independent completions for an accuracy, a standard deviation of 1
for a judge's score.
"""

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from permix import paper
from permix.results import formatting
from permix.results.claims import claims
from permix.results.claims.claims import LEVEL
from permix.results.claims.statements import STATEMENTS, Cell, Statement
from permix.results.measures.intervals import mean

TOY = {"gsm8k": "arithmetic", "math500": "arithmetic-long"}
"""The toy world's benchmark for each of the paper's: problems of the training kind, and longer ones."""

RULE = (
    "The brackets show the deciding difference with its 95 % interval: the least certain one of a statement that "
    "holds, the most certain failing one of a statement that fails. Inside the noise: the interval reaches 0 or is "
    f"unknown, or p (single seeds of ours only) is above {LEVEL:g}. The paper prints no intervals, so those of its "
    "numbers are rough."
)
TOY_STANDS_FOR = "In the toy world arithmetic stands for GSM8K, arithmetic-long for MATH500, voice for PersonaGym."


class Ends(NamedTuple):
    """The 95 % interval of a difference, and its p-value if it was tested."""

    low: float
    high: float
    p_value: float | None = None


class Printed:
    """The cells that the paper prints."""

    def __init__(self) -> None:
        self._cells = dict(paper.values())
        for name in paper.FAMILIES:
            for benchmark in ("math500", "aime2024"):
                values = [self._cells[model, benchmark, "pss"] for model in paper.family(name)]
                self._cells |= {(name, benchmark, "pss"): math.fsum(values) / len(values)}

    def value(self, cell: Cell) -> float | None:
        """Return the number in a cell; None if it is missing."""
        return self._cells.get(cell)

    def interval(self, left: Cell, right: Cell) -> Ends | None:
        """Return a normal interval of left - right from rough standard errors; None if one is unknown."""
        errors = self._error(left), self._error(right)
        values = self.value(left), self.value(right)
        if None in errors or None in values:
            return None
        half = 1.96 * math.hypot(*errors)  # type: ignore[arg-type]
        return Ends(values[0] - values[1] - half, values[0] - values[1] + half)  # type: ignore[operator]

    def column(self, cell: Cell) -> tuple[str, str]:
        """Return the benchmark and the measure of a cell."""
        return cell[1], cell[2]

    def _error(self, cell: Cell) -> float | None:
        row, benchmark, measure = cell
        if benchmark == "personagym":
            return 1 / math.sqrt(paper.JUDGEMENTS * (5 if measure == "mean" else 1))
        answers = paper.PROBLEMS[benchmark] * paper.RUNS
        if measure != "pss":
            share = min(max(self._cells[cell], 0.5 / answers), 1 - 0.5 / answers)  # 0 or 1 has an error too
            return math.sqrt(share * (1 - share) / answers / (16 if measure == "mean" else 1))
        worst, best = self._ends(row, benchmark)
        if not worst or not best:
            return None
        return worst / best * math.sqrt((1 - worst) / worst / answers + (1 - best) / best / answers)

    def _ends(self, row: str, benchmark: str) -> tuple[float, float]:
        """Return worst and best, of a public model from its personas' accuracies; (0, 0) for a mean over a family."""
        worst, best = (self._cells.get((row, benchmark, end)) for end in ("worst", "best"))
        if worst is not None and best is not None:
            return worst, best
        shares = [value for (model, on, _), value in paper.accuracies().items() if (model, on) == (row, benchmark)]
        return (min(shares), max(shares)) if shares else (0.0, 0.0)


@dataclass(frozen=True)
class Measured:
    """Our cells, from the rows of sweeps and PersonaGym scores (stage tables) and a paired test of two rows.

    In the toy world TOY maps benchmarks, and voice stands for consistency. A family's row is the mean over its models.
    """

    rows: Sequence[Mapping[str, Any]]
    paired: Callable[[Mapping[str, Any], Mapping[str, Any]], Mapping[str, float]]
    toy: bool
    base_slug: str = ""

    @functools.cached_property
    def _models(self) -> dict[str, str]:
        """{public model of the paper: its variant here}."""
        names = dict.fromkeys(row["variant"] for row in self.rows)
        return {model: name for name in names for model in paper.rows_of(name, self.base_slug) if model != name}

    def value(self, cell: Cell) -> float | None:
        """Return the mean over seeds, for a family over its models; None if one of them is missing."""
        benchmark, measure = self.column(cell)
        if cell[0] in paper.FAMILIES:
            return mean(self.value((model, *cell[1:])) for model in paper.family(cell[0]))
        name = self._models.get(cell[0], cell[0])
        return mean(r[measure] for r in self._on(benchmark) if r["variant"] == name and r.get(measure) is not None)

    def interval(self, left: Cell, right: Cell) -> Ends | None:
        """Return the interval over seeds, or the paired test's for a single seed; None for a family."""
        benchmark, measure = self.column(left)
        first, second = (self._models.get(cell[0], cell[0]) for cell in (right, left))
        claim = claims.examine(claims.Claim(measure, first, second, "rises"), self._on(benchmark), self.paired)
        return None if claim is None or claim["low"] is None else Ends(claim["low"], claim["high"], claim["p_value"])

    def _on(self, benchmark: str) -> list[Mapping[str, Any]]:
        return [row for row in self.rows if row["benchmark"] == benchmark]

    def column(self, cell: Cell) -> tuple[str, str]:
        """Return our names of benchmark and measure; in the toy world those of the same role."""
        if not self.toy:
            return cell[1], cell[2]
        if cell[1:] == ("personagym", "persona_consistency"):
            return TOY["gsm8k"], "voice"
        return TOY.get(cell[1], ""), cell[2]


Source = Printed | Measured


def examine(statement: Statement, source: Source) -> dict[str, Any]:
    """Return `verdict` (holds, fails, not measured), the deciding comparison, and whether it is inside the noise.

    A statement with a missing cell is not measured. `decided` is the least certain comparison of a statement that
    holds, and the most certain failing comparison of one that fails (RULE).
    """
    compared = [(part.times, *pair) for part in statement.formula for pair in part.pairs()]
    cells = [(source.value(left), source.value(right)) for _, left, right in compared]
    if any(None in pair for pair in cells):
        return {"verdict": "not measured", "holding": 0, "of": len(compared), "inside_noise": None, "decided": None}
    holds = [above > times * other for (times, *_), (above, other) in zip(compared, cells, strict=True)]  # type: ignore[operator]
    held = all(holds)
    deciding = [_tested(source, *c, held=held) for c, holding in zip(compared, holds, strict=True) if holding == held]
    certainty = functools.partial(_certainty, held=held)
    decided = (min if held else max)(deciding, key=certainty)
    return {
        "verdict": "holds" if held else "fails",
        "holding": sum(holds),
        "of": len(compared),
        "inside_noise": not certainty(decided)[0],
        "decided": decided,
    }


def table(ours: Source | None = None) -> list[dict[str, Any]]:
    """Return every statement with its verdict on the paper's numbers and, if there are any, on ours."""
    printed, rows = Printed(), []
    for number, statement in enumerate(STATEMENTS, 1):
        row = {"number": number, "quote": statement.quote, "section": statement.section, "reading": statement.reading}
        row |= {"formula": "; ".join(map(str, statement.formula)), "paper": examine(statement, printed)}
        rows.append(row | {"ours": examine(statement, ours) if ours else None})
    return rows


def verdict(examined: Mapping[str, Any] | None) -> str:
    """Return the verdict in words, with the difference that decided it."""
    if examined is None or examined["verdict"] == "not measured":
        return "not measured"
    many = examined["verdict"] == "fails" and examined["of"] > 1
    part = f" ({examined['of'] - examined['holding']} of {examined['of']})" if many else ""
    words = f"{examined['verdict']}{part}{', inside the noise' if examined['inside_noise'] else ''}"
    if not (decided := examined.get("decided")):
        return words
    p_value = "" if decided["p_value"] is None else f", p {decided['p_value']:.3f}"
    interval = formatting.difference_interval(decided, missing="no interval")
    return f"{words} [{decided['what']}: {decided['difference']:+.3f}, {interval}{p_value}]"


def _tested(source: Source, times: float, left: Cell, right: Cell, *, held: bool) -> dict[str, Any]:
    """Return left - times x right with its interval; a p-value only for the plain difference.

    For "at least k times larger" that holds, only the plain difference is tested, because k is an estimate itself.
    """
    factor = min(times, 1.0) if held else times
    values, ends = (source.value(left) or 0.0, source.value(right) or 0.0), source.interval(left, right)
    shift = (factor - 1) * values[1]
    benchmark, measure = source.column(left)
    return {
        "what": f"{measure} of {left[0]} - {'' if factor == 1 else f'{factor:g} x '}{right[0]}, {benchmark}",
        "difference": values[0] - factor * values[1],
        "low": ends.low - shift if ends else None,
        "high": ends.high - shift if ends else None,
        "p_value": ends.p_value if ends and factor == 1 else None,
    }


def _certainty(tested: Mapping[str, Any], *, held: bool) -> tuple[bool, float]:
    """Return whether the comparison is outside the noise, and the distance of its interval from 0."""
    if tested["low"] is None:
        return False, -math.inf
    margin = tested["low"] if held else -tested["high"]
    return margin > 0 and (tested["p_value"] is None or tested["p_value"] <= LEVEL), margin
