"""What is read of finished sweeps, column by column, and whether they may stand in one table."""

import functools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from permix import run_record
from permix.errors import BadInput
from permix.paper import variants
from permix.prompting import persona

Floats = NDArray[np.float64]
SAMPLED = ("runs", "limit", "temperature", "top_p", "max_tokens")


@dataclass(frozen=True)
class Counts:
    """Correct answers [personas, problems] of one sweep on one benchmark, of `runs` each; controls are left out.

    `plain` is the accuracy without a system message on each problem, nan where that was not measured.
    """

    personas: tuple[str, ...]
    problems: tuple[str, ...]
    correct: Floats
    runs: int
    plain: Floats

    @property
    def means(self) -> Floats:
        """Accuracy of each persona."""
        return np.asarray(self.correct.mean(1) / self.runs)

    @property
    def cells(self) -> Floats:
        """Accuracy of each persona on each problem, with one more run that answers as the persona does on average.

        A share of few runs is often 0 or 1, which no beta could move; the added run keeps every persona's mean.
        """
        return np.asarray((self.correct + self.means[:, None]) / (self.runs + 1))

    def like(self, other: Self) -> Self:
        """The same with personas and problems in the other's order; BadInput where they are not the same ones."""
        for what in ("personas", "problems"):
            if odd := set(getattr(self, what)) ^ set(getattr(other, what)):
                raise BadInput(
                    f"Two sweeps answer different problems or personas ({min(odd)!r} is in one alone): "
                    "make both with one recipe."
                )
        who, which = (
            [self.personas.index(p) for p in other.personas],
            [self.problems.index(p) for p in other.problems],
        )
        correct, plain = self.correct[np.ix_(who, which)], self.plain[which]
        return replace(self, personas=other.personas, problems=other.problems, correct=correct, plain=plain)


def count(rows: Mapping[str, Sequence[Any]]) -> Counts:
    """Count a sweep's columns `persona`, `problem_id`, `score`; BadInput where the grid has holes."""
    controls = {c.key for c in persona.CONTROLS}
    names = tuple(dict.fromkeys(p for p in rows["persona"] if p not in controls))
    problems = tuple(dict.fromkeys(rows["problem_id"]))
    places = {name: i for i, name in enumerate((*names, "none", "helpful"))}
    columns = {name: i for i, name in enumerate(problems)}
    correct, seen = np.zeros((2, len(names) + 2, len(problems)))
    cells = [places[p] for p in rows["persona"]], [columns[p] for p in rows["problem_id"]]
    np.add.at(correct, cells, np.asarray(rows["score"], dtype=np.float64))
    np.add.at(seen, cells, 1)
    runs = seen[: len(names)]
    if not len(names) or runs.min() != runs.max():
        raise BadInput("The sweep does not have every persona on every problem equally often: make it again.")
    plain = np.divide(correct[-2], seen[-2], out=np.full(len(problems), np.nan), where=seen[-2] > 0)
    return Counts(names, problems, correct[: len(names)], int(runs.max()), plain)


def columns(folder: Path, benchmark: str, names: Sequence[str]) -> dict[str, list[Any]]:
    """The named columns of a sweep's rows on one benchmark; completions stay on the disk unless they are named."""
    import pyarrow.parquet as parquet

    path = folder / "data" / benchmark / "test-00000-of-00001.parquet"
    found: dict[str, list[Any]] = parquet.read_table(path, columns=list(names)).to_pydict()
    return found


def answers(folder: Path, benchmark: str, runs: int) -> list[dict[str, Any]]:
    """Persona, problem, run and completion of a sweep's first `runs` runs on one benchmark."""
    import pyarrow.parquet as parquet

    path = folder / "data" / benchmark / "test-00000-of-00001.parquet"
    names, first = ["persona", "problem_id", "run", "completion"], [("run", "<", runs)]
    return [dict(row) for row in parquet.read_table(path, columns=names, filters=first).to_pylist()]


def summary(folder: Path, name: str, benchmark: str) -> dict[str, Any]:
    """A sweep's numbers on one benchmark; BadInput where it has none."""
    found = json.loads((folder / "summary.json").read_text(encoding="utf-8"))["benchmarks"]
    if benchmark not in found:
        raise BadInput(f"The sweep of {name} has no benchmark {benchmark!r}: make it again with this recipe.")
    return dict(found[benchmark])


def record(folder: Path) -> Mapping[str, Any] | None:
    """The run record of an artifact's folder; None where it holds none."""
    path = folder / run_record.RECORD
    return run_record.read_record(path) if path.is_file() else None


def refuse_unequal(folders: Mapping[str, Path], benchmark: str) -> None:
    """BadInput where sweeps differ in personas, problems, runs, sampling or the benchmark's revision."""
    conditions = {name: _conditions(folder, name, benchmark) for name, folder in folders.items()}
    first, *others = conditions
    for name in others:
        for what, value in conditions[name].items():
            if conditions[first].get(what, value) != value:
                raise BadInput(
                    f"The sweeps of {first} and {name} on {benchmark} differ in {what}: make both with one recipe."
                )


def _conditions(folder: Path, name: str, benchmark: str) -> dict[str, Any]:
    found, made = summary(folder, name, benchmark), record(folder)
    conditions: dict[str, Any] = {"personas": sorted(found["accuracy"]), "runs": found["runs"]}
    conditions["the number of problems"] = found["problems"]
    if made is None:
        return conditions
    conditions |= {f"the setting {key}": made["config"].get(key) for key in SAMPLED}
    inputs = {"the personas dataset": "personas", "the benchmark's revision": f"benchmark/{benchmark}"}
    if "/" not in name and not name.startswith(variants.SERVED):  # another model has another base
        inputs["base"] = "base"
    return conditions | {what: made["inputs"].get(key, {}).get("content_digest") for what, key in inputs.items()}


def pairing(folders: Mapping[str, Path]) -> Callable[[Mapping[str, Any], Mapping[str, Any]], Mapping[str, float]]:
    """`paired(first, second)`: pss.paired of two sweeps, given as rows with variant, seed, benchmark; kept once made.

    Runs of a problem are averaged first, which changes nothing: problems are what is resampled.
    """
    from permix.results.measures import pss

    @functools.cache
    def counts(name: str, benchmark: str) -> Counts:
        return count(columns(folders[name], benchmark, ("persona", "problem_id", "score")))

    @functools.cache
    def of(first: str, second: str, benchmark: str) -> Mapping[str, float]:
        one = counts(first, benchmark)
        two = counts(second, benchmark).like(one)
        first_scores, second_scores = ((c.correct / c.runs).ravel().tolist() for c in (one, two))
        who = [name for name in one.personas for _ in one.problems]
        return pss.paired(first_scores, second_scores, who, list(one.problems) * len(one.personas))

    def paired(first: Mapping[str, Any], second: Mapping[str, Any]) -> Mapping[str, float]:
        names = (f"{row['variant']}-seed{row['seed']}" for row in (first, second))
        return of(*names, first["benchmark"])

    return paired


def cases(folder: Path) -> list[dict[str, Any]]:
    """The rows of a cases artifact."""
    import pyarrow.parquet as parquet

    return [dict(row) for row in parquet.read_table(folder / "data" / "test-00000-of-00001.parquet").to_pylist()]
