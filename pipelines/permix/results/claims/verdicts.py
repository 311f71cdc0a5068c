"""Do the paper's statements hold, on its own printed cells and on ours?

A statement holds when every comparison of its formula does, and RULE says when that is inside the noise. For printed
cells that is a rough bound, since the paper prints no intervals: independent completions behind an accuracy, a spread
of 1 among judges' scores.
"""

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from permix import paper
from permix.results.claims import claims
from permix.results.claims.claims import LEVEL
from permix.results.claims.statements import STATEMENTS, Cell, Statement

TOY = {"gsm8k": "arithmetic", "math500": "arithmetic-long"}
"""The toy world's benchmarks of the same role: problems of the training kind, and longer ones."""

RULE = (
    "In brackets stands the difference that decides, with its 95 % interval: of a statement that holds the least "
    "certain one, of one that fails the most certain of those that fail. inside the noise: the interval reaches 0 or "
    f"is not known, or p, which only single seeds of ours have, is above {LEVEL:g}. The intervals of the paper's own "
    "numbers are rough, since it prints none."
)
TOY_STANDS_FOR = "In the toy world arithmetic stands for GSM8K, arithmetic-long for MATH500, voice for PersonaGym."


class Ends(NamedTuple):
    """The 95 % interval of a difference, and the p-value where it is tested."""

    low: float
    high: float
    p_value: float | None = None


class Source(Protocol):
    """Where cells come from."""

    def value(self, cell: Cell) -> float | None:
        """The cell, None where there is none."""
        ...

    def interval(self, left: Cell, right: Cell) -> Ends | None:
        """Of left - right, None where it cannot be said."""
        ...

    def column(self, cell: Cell) -> tuple[str, str]:
        """The benchmark and the measure that the cell's number is of."""
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

    def interval(self, left: Cell, right: Cell) -> Ends | None:
        """Normal, from the two cells' rough standard errors."""
        errors = self._error(left), self._error(right)
        values = self.value(left), self.value(right)
        if None in errors or None in values:
            return None
        half = 1.96 * math.hypot(*errors)  # type: ignore[arg-type]
        return Ends(values[0] - values[1] - half, values[0] - values[1] + half)  # type: ignore[operator]

    def column(self, cell: Cell) -> tuple[str, str]:
        """As the paper names them."""
        return cell[1], cell[2]

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
        benchmark, measure = self.column(cell)
        if cell[0] in paper.FAMILIES:
            models = paper.family(cell[0])
            found = [value for model in models if (value := self.value((model, *cell[1:]))) is not None]
            return math.fsum(found) / len(found) if len(found) == len(models) else None
        name = self._models.get(cell[0], cell[0])
        found = [r[measure] for r in self._on(benchmark) if r["variant"] == name and r.get(measure) is not None]
        return math.fsum(found) / len(found) if found else None

    def interval(self, left: Cell, right: Cell) -> Ends | None:
        """Over seeds, or the paired test of a single one, as for every other difference of ours; none for families."""
        benchmark, measure = self.column(left)
        first, second = (self._models.get(cell[0], cell[0]) for cell in (right, left))
        found = claims.examine(claims.Claim(measure, first, second, "rises"), self._on(benchmark), self.paired)
        return None if found is None or found["low"] is None else Ends(found["low"], found["high"], found["p_value"])

    def _on(self, benchmark: str) -> list[Mapping[str, Any]]:
        return [row for row in self.rows if row["benchmark"] == benchmark]

    def column(self, cell: Cell) -> tuple[str, str]:
        """As they are named here: in the toy world the one of the same role."""
        if not self.toy:
            return cell[1], cell[2]
        if cell[1:] == ("personagym", "persona_consistency"):
            return TOY["gsm8k"], "voice"
        return TOY.get(cell[1], ""), cell[2]


def examine(statement: Statement, source: Source) -> dict[str, Any]:
    """`verdict` (holds, fails, not measured), how many comparisons hold, which `decided`, whether inside the noise.

    It is not measured where a cell is missing. `decided` is the least certain of all comparisons of a statement that
    holds, and the most certain of the failing ones of one that fails (RULE).
    """
    compared = [(part.times, *pair) for part in statement.formula for pair in part.pairs()]
    cells = [(source.value(left), source.value(right)) for _, left, right in compared]
    if any(one is None or two is None for one, two in cells):
        return {"verdict": "not measured", "holding": 0, "of": len(compared), "inside_noise": None, "decided": None}
    holds = [one > times * two for (times, *_), (one, two) in zip(compared, cells, strict=True)]  # type: ignore[operator]
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
    """Every statement with its verdict on the paper's numbers and, where there are some, on ours."""
    printed, rows = Printed(), []
    for number, said in enumerate(STATEMENTS, 1):
        row = {"number": number, "quote": said.quote, "section": said.section, "reading": said.reading}
        row |= {"formula": "; ".join(map(str, said.formula)), "paper": examine(said, printed)}
        rows.append(row | {"ours": examine(said, ours) if ours else None})
    return rows


def verdict(found: Mapping[str, Any] | None) -> str:
    """A verdict in words, with the difference that decided it."""
    if found is None or found["verdict"] == "not measured":
        return "not measured"
    many = found["verdict"] == "fails" and found["of"] > 1
    part = f" ({found['of'] - found['holding']} of {found['of']})" if many else ""
    noise = ", inside the noise" if found["inside_noise"] else ""
    return f"{found['verdict']}{part}{noise}{_in_numbers(found['decided']) if 'decided' in found else ''}"


def _in_numbers(decided: Mapping[str, Any]) -> str:
    interval = "no interval" if decided["low"] is None else f"{decided['low']:+.3f} to {decided['high']:+.3f}"
    p_value = "" if decided["p_value"] is None else f", p {decided['p_value']:.3f}"
    return f" [{decided['what']}: {decided['difference']:+.3f}, {interval}{p_value}]"


def _tested(source: Source, times: float, left: Cell, right: Cell, *, held: bool) -> dict[str, Any]:
    """left - times x right with its interval; the p-value is of the plain difference alone.

    Of a factor above 1 that is reached only the plain difference is asked: the printed factor is its own estimate.
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
    """Whether a comparison cannot have come out so by chance, and how far its interval stays from 0."""
    if tested["low"] is None:
        return False, -math.inf
    margin = tested["low"] if held else -tested["high"]
    return margin > 0 and (tested["p_value"] is None or tested["p_value"] <= LEVEL), margin
