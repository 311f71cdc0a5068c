"""Read finished sweeps column by column, and refuse sweeps that cannot be compared."""

import functools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from pyarrow.parquet import read_table

from permix import parquet, run_record
from permix.errors import BadInput
from permix.paper import variants
from permix.prompting import persona
from permix.results.measures import pss

Floats = NDArray[np.float64]
SAMPLED = ("runs", "limit", "temperature", "top_p", "max_tokens")


@dataclass(frozen=True)
class Counts:
    """Correct answers [personas, problems] of `runs`, without controls. `plain`: accuracies without persona, or nan."""

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
        """Accuracies with one added run at the persona's mean, which stays: no beta could change a cell of 0 or 1."""
        return np.asarray((self.correct + self.means[:, None]) / (self.runs + 1))

    def like(self, other: Self) -> Self:
        """Return these counts in the other's order; raise BadInput if personas or problems differ."""
        for own, others in ((self.personas, other.personas), (self.problems, other.problems)):
            if odd := set(own) ^ set(others):
                raise BadInput(
                    f"Two sweeps answer different problems or personas ({min(odd)!r} is in one alone): "
                    "make both with one recipe."
                )
        rows = [self.personas.index(persona) for persona in other.personas]
        columns = [self.problems.index(problem) for problem in other.problems]
        correct, plain = self.correct[np.ix_(rows, columns)], self.plain[columns]
        return replace(self, personas=other.personas, problems=other.problems, correct=correct, plain=plain)


def count(rows: Mapping[str, Sequence[Any]]) -> Counts:
    """Count a sweep's columns `persona`, `problem_id`, `score`; raise BadInput if a cell of the grid lacks runs."""
    names = tuple(dict.fromkeys(p for p in rows["persona"] if p not in persona.CONTROL_KEYS))
    problems = tuple(dict.fromkeys(rows["problem_id"]))
    rows_of = {name: i for i, name in enumerate((*names, "none", "helpful"))}
    columns_of = {name: i for i, name in enumerate(problems)}
    correct, seen = np.zeros((2, len(names) + 2, len(problems)))
    cells = [rows_of[p] for p in rows["persona"]], [columns_of[p] for p in rows["problem_id"]]
    np.add.at(correct, cells, np.asarray(rows["score"], dtype=np.float64))
    np.add.at(seen, cells, 1)
    runs = seen[: len(names)]
    if not len(names) or runs.min() != runs.max():
        raise BadInput("The sweep does not have every persona on every problem equally often: make it again.")
    plain = np.divide(correct[-2], seen[-2], out=np.full(len(problems), np.nan), where=seen[-2] > 0)
    return Counts(names, problems, correct[: len(names)], int(runs.max()), plain)


def columns(folder: Path, benchmark: str, names: Sequence[str]) -> dict[str, list[Any]]:
    """Read the named columns of a sweep's rows on one benchmark, and no others."""
    return dict(read_table(parquet.data_file(folder, benchmark), columns=list(names)).to_pydict())


def answers(folder: Path, benchmark: str, runs: int) -> list[dict[str, Any]]:
    """Read persona, problem, run and completion of a sweep's first `runs` runs on one benchmark."""
    names, first = ["persona", "problem_id", "run", "completion"], [("run", "<", runs)]
    return parquet.read(parquet.data_file(folder, benchmark), names, first)


def summary(folder: Path, name: str, benchmark: str) -> dict[str, Any]:
    """Read a sweep's numbers on one benchmark; raise BadInput if it has none."""
    benchmarks = json.loads((folder / "summary.json").read_text(encoding="utf-8"))["benchmarks"]
    if benchmark not in benchmarks:
        raise BadInput(f"The sweep of {name} has no benchmark {benchmark!r}: make it again with this recipe.")
    return dict(benchmarks[benchmark])


def record(folder: Path) -> Mapping[str, Any] | None:
    """Read the run record in an artifact's folder; None if it has none."""
    path = folder / run_record.RECORD
    return run_record.read_record(path) if path.is_file() else None


def refuse_unequal(folders: Mapping[str, Path], benchmark: str) -> None:
    """Raise BadInput if sweeps differ in personas, problems, runs, sampling or the benchmark's revision."""
    conditions = {name: _conditions(folder, name, benchmark) for name, folder in folders.items()}
    first, *others = conditions
    for name in others:
        for condition, value in conditions[name].items():
            if conditions[first].get(condition, value) != value:
                raise BadInput(f"Sweeps of {first} and {name} on {benchmark} differ in {condition}: use one recipe.")


def _conditions(folder: Path, name: str, benchmark: str) -> dict[str, Any]:
    numbers, run = summary(folder, name, benchmark), record(folder)
    conditions: dict[str, Any] = {"personas": sorted(numbers["accuracy"]), "runs": numbers["runs"]}
    conditions["the number of problems"] = numbers["problems"]
    if run is None:
        return conditions
    conditions |= {f"the setting {key}": run["config"].get(key) for key in SAMPLED}
    inputs = {"the personas dataset": "personas", "the benchmark's revision": f"benchmark/{benchmark}"}
    if "/" not in name and not name.startswith(variants.SERVED):  # another model has another base
        inputs["base"] = "base"
    return conditions | {label: run["inputs"].get(key, {}).get("content_digest") for label, key in inputs.items()}


def pairing(folders: Mapping[str, Path]) -> Callable[[Mapping[str, Any], Mapping[str, Any]], Mapping[str, float]]:
    """Return `paired(first, second)`: pss.paired of two sweeps on their mean runs, as it resamples problems; cached."""

    @functools.cache
    def counts(name: str, benchmark: str) -> Counts:
        return count(columns(folders[name], benchmark, ("persona", "problem_id", "score")))

    @functools.cache
    def test(first_name: str, second_name: str, benchmark: str) -> Mapping[str, float]:
        first = counts(first_name, benchmark)
        second = counts(second_name, benchmark).like(first)
        first_scores, second_scores = ((c.correct / c.runs).ravel().tolist() for c in (first, second))
        personas = [name for name in first.personas for _ in first.problems]
        return pss.paired(first_scores, second_scores, personas, list(first.problems) * len(first.personas))

    def paired(first: Mapping[str, Any], second: Mapping[str, Any]) -> Mapping[str, float]:
        names = (f"{row['variant']}-seed{row['seed']}" for row in (first, second))
        return test(*names, first["benchmark"])

    return paired


def cases(folder: Path) -> list[dict[str, Any]]:
    """Read the rows of a cases artifact."""
    return parquet.read(parquet.data_file(folder))
