"""Accuracy and cost of choosing among personas at inference time, from the rows of a sweep.

Training for robustness competes with choosing or combining personas per problem. Selectors that need no new completion
are computed here. Ensembles with a judge, and solving plainly before restating in character, are sweeps
(permix.stages.shared.peers); `of_peer` gives their line.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from permix.prompting.persona import CONTROL_KEYS
from permix.results.measures import pss
from permix.results.measures.intervals import mean

Row = Mapping[str, Any]
Floats = NDArray[np.float64]


def of_rows(table: Sequence[Row]) -> list[dict[str, Any]]:
    """Return one line per selector: `selector`, `accuracy`, `low`, `high`, `completions` and `tokens` per problem.

    none, helpful       one completion under the control
    random              one completion under a random persona
    chosen              one completion under the persona that is best on the other half of the problems
    chosen per problem  one completion under the persona that is best on this problem in the other runs (if any)
    majority            one completion per persona (of a control: per run), the most frequent answer
    best of k           k completions under random personas, the right one picked by an oracle: an upper bound
    """
    people = sorted({row["persona"] for row in table} - set(CONTROL_KEYS))
    items = [row for row in table if row["persona"] not in CONTROL_KEYS]
    scores, cost = _cube(items, people, "score"), mean(_column(items, "tokens_out"))
    by_control = {key: rows for key in CONTROL_KEYS if (rows := [row for row in table if row["persona"] == key])}
    selectors: dict[str, tuple[Mapping[str, float] | Floats, int, float | None]] = {}
    for key, rows in by_control.items():
        selectors[key] = _cube(rows, [key], "score").mean((0, 2)), 1, mean(_column(rows, "tokens_out"))
    selectors["random"] = scores.mean((0, 2)), 1, cost
    selectors["chosen"] = _chosen(scores), 1, cost
    if scores.shape[2] > 1:
        selectors["chosen per problem"] = _chosen_per_problem(scores), 1, cost
        for key, rows in by_control.items():
            runs = len({row["run"] for row in rows})
            tokens = _times(mean(_column(rows, "tokens_out")), runs)
            selectors[f"majority of {runs} {key}"] = _majority(rows, ""), runs, tokens
    selectors[f"majority of {len(people)} personas"] = _majority(items, "run"), len(people), _times(cost, len(people))
    for k in [k for k in (2, 4, 8, 16) if k < len(people)] + [len(people)]:
        passed = pss.pass_at(_column(items, "score"), _column(items, "problem_id"), _column(items, "run"), k)
        selectors[f"best of {k} personas"] = passed, k, _times(cost, k)
    problems = sorted({row["problem_id"] for row in items})
    return [_line(name, problems, *entry) for name, entry in selectors.items()]


def of_peer(table: Sequence[Row]) -> dict[str, Any]:
    """Return the line of a peer's sweep, computed like `random`; tokens are those of all its rounds."""
    people = sorted({row["persona"] for row in table} - set(CONTROL_KEYS))
    items = [row for row in table if row["persona"] in people]
    problems = sorted({row["problem_id"] for row in items})
    completions = round(float(np.mean([len(json.loads(row["rounds"])) for row in items])), 2)
    scores = _cube(items, people, "score").mean((0, 2))
    return _line(items[0]["peer"], problems, scores, completions, mean(_column(items, "tokens_out")))


def _line(
    name: str, problems: Sequence[str], values: Mapping[str, float] | Floats, completions: float, tokens: float | None
) -> dict[str, Any]:
    by_problem = [values[p] for p in problems] if isinstance(values, Mapping) else values.tolist()
    (numbers,) = pss.shares(np.clip(by_problem, 0, 1).tolist(), [name] * len(problems), problems).values()
    return {"selector": name, **numbers, "completions": completions, "tokens": tokens}


def _cube(rows: Sequence[Row], people: Sequence[str], column: str) -> Floats:
    """Return the column as [personas, problems, runs], problems and runs in sorted order."""
    problems, runs = (sorted({row[name] for row in rows}) for name in ("problem_id", "run"))
    axes = tuple({value: i for i, value in enumerate(axis)} for axis in (people, problems, runs))
    cube = np.full(tuple(map(len, axes)), np.nan)
    for row in rows:
        cell = (row["persona"], row["problem_id"], row["run"])
        cube[tuple(axis[key] for axis, key in zip(axes, cell, strict=True))] = row[column]
    return cube


def _chosen(scores: Floats) -> Floats:
    """Return by problem the accuracy of the persona that is best on the other half (every second problem)."""
    half = np.arange(scores.shape[1]) % 2
    accuracy, by_problem = scores.mean(2), np.empty(scores.shape[1])
    for side in (0, 1):
        other = accuracy[:, half != side] if (half != side).any() else accuracy
        by_problem[half == side] = accuracy[other.mean(1).argmax(), half == side]
    return by_problem


def _chosen_per_problem(scores: Floats) -> Floats:
    """Return by problem the accuracy of the persona that is best in the other runs; ties share."""
    runs = scores.shape[2]
    by_problem = np.zeros(scores.shape[1])
    for run in range(runs):
        others = scores.sum(2) - scores[:, :, run]
        best = np.isclose(others, others.max(0))
        by_problem += (best * scores[:, :, run]).sum(0) / best.sum(0)
    return np.asarray(by_problem / runs)


def _majority(rows: Sequence[Row], vote: str) -> dict[str, float]:
    """Return by problem the accuracy of the most frequent answer, among rows of equal `vote` or among all."""
    votes = _column(rows, vote) if vote else [0] * len(rows)
    return pss.majority(_column(rows, "score"), _column(rows, "problem_id"), votes, _column(rows, "extracted"))


def _column(rows: Sequence[Row], name: str) -> list[Any]:
    return [row[name] for row in rows]


def _times(tokens: float | None, k: int) -> float | None:
    return None if tokens is None else tokens * k
