"""What choosing among personas at inference time would bring, from the rows of a sweep: accuracy beside its cost.

Training for robustness competes with choosing or combining personas for each problem. What needs no new completion is
computed here; ensembles with a judge, and solving plainly before restating in character, are sweeps of their own
(permix.stages.shared.peers), of which `of_peer` gives the line beside.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from permix.results.measures import pss
from permix.results.measures.sweep_numbers import CONTROLS

Row = Mapping[str, Any]
Floats = NDArray[np.float64]


def of_rows(table: Sequence[Row]) -> list[dict[str, Any]]:
    """One line for each selector: `selector`, `accuracy`, `low`, `high`, `completions` and `tokens` for a problem.

    none, helpful       one completion under the control
    random              one, under a persona drawn at random
    chosen              one, under the persona that is best on the other half of the problems
    chosen per problem  one, under the persona that is best on this problem in the other runs; two runs or more
    majority            one for each persona (or, of a control, for each run), the answer given most often
    best of k           k under personas drawn at random, the right one picked by an oracle: an upper bound
    """
    people = sorted({row["persona"] for row in table} - set(CONTROLS))
    items = [row for row in table if row["persona"] not in CONTROLS]
    scores, cost = _cube(items, people, "score"), _mean(items, "tokens_out")
    found: dict[str, tuple[Mapping[str, float] | Floats, int, float | None]] = {}
    for control in CONTROLS:
        if rows := [row for row in table if row["persona"] == control]:
            found[control] = _cube(rows, [control], "score").mean((0, 2)), 1, _mean(rows, "tokens_out")
    found["random"] = scores.mean((0, 2)), 1, cost
    found["chosen"] = _chosen(scores), 1, cost
    if scores.shape[2] > 1:
        found["chosen per problem"] = _chosen_per_problem(scores), 1, cost
        for control in CONTROLS:
            if rows := [row for row in table if row["persona"] == control]:
                runs = len({row["run"] for row in rows})
                found[f"majority of {runs} {control}"] = (
                    _majority(rows, ""),
                    runs,
                    _times(_mean(rows, "tokens_out"), runs),
                )
    found[f"majority of {len(people)} personas"] = _majority(items, "run"), len(people), _times(cost, len(people))
    for k in [k for k in (2, 4, 8, 16) if k < len(people)] + [len(people)]:
        passed = pss.pass_at(_column(items, "score"), _column(items, "problem_id"), _column(items, "run"), k)
        found[f"best of {k} personas"] = passed, k, _times(cost, k)
    problems = sorted({row["problem_id"] for row in items})
    return [_line(name, problems, *entry) for name, entry in found.items()]


def of_peer(table: Sequence[Row]) -> dict[str, Any]:
    """The line of a peer's sweep, as `random` is that of an ordinary one; tokens are those of all its rounds."""
    people = sorted({row["persona"] for row in table} - set(CONTROLS))
    items = [row for row in table if row["persona"] in people]
    problems = sorted({row["problem_id"] for row in items})
    completions = round(float(np.mean([len(json.loads(row["rounds"])) for row in items])), 2)
    scores = _cube(items, people, "score").mean((0, 2))
    return _line(items[0]["peer"], problems, scores, completions, _mean(items, "tokens_out"))


def _line(
    name: str, problems: Sequence[str], values: Mapping[str, float] | Floats, completions: float, tokens: float | None
) -> dict[str, Any]:
    by_problem = [values[p] for p in problems] if isinstance(values, Mapping) else values.tolist()
    (numbers,) = pss.shares(np.clip(by_problem, 0, 1).tolist(), [name] * len(problems), problems).values()
    return {"selector": name, **numbers, "completions": completions, "tokens": tokens}


def _cube(rows: Sequence[Row], people: Sequence[str], column: str) -> Floats:
    """The column as [personas, problems, runs], problems and runs in sorted order."""
    problems, runs = (sorted({row[name] for row in rows}) for name in ("problem_id", "run"))
    axes = tuple({value: i for i, value in enumerate(axis)} for axis in (people, problems, runs))
    cube = np.full(tuple(map(len, axes)), np.nan)
    for row in rows:
        cube[tuple(axis[row[name]] for axis, name in zip(axes, ("persona", "problem_id", "run"), strict=True))] = row[
            column
        ]
    return cube


def _chosen(scores: Floats) -> Floats:
    """By problem, the accuracy of the persona that is best on the other half; halves are every second problem."""
    half = np.arange(scores.shape[1]) % 2
    accuracy, found = scores.mean(2), np.empty(scores.shape[1])
    for side in (0, 1):
        other = accuracy[:, half != side] if (half != side).any() else accuracy
        found[half == side] = accuracy[other.mean(1).argmax(), half == side]
    return found


def _chosen_per_problem(scores: Floats) -> Floats:
    """By problem, the accuracy of the persona that is best in the other runs; personas that tie share."""
    runs = scores.shape[2]
    found = np.zeros(scores.shape[1])
    for run in range(runs):
        others = scores.sum(2) - scores[:, :, run]
        best = np.isclose(others, others.max(0))
        found += (best * scores[:, :, run]).sum(0) / best.sum(0)
    return np.asarray(found / runs)


def _majority(rows: Sequence[Row], vote: str) -> dict[str, float]:
    """By problem, the accuracy of the answer given most often: among the rows with one `vote`, or among all."""
    votes = _column(rows, vote) if vote else [0] * len(rows)
    return pss.majority(_column(rows, "score"), _column(rows, "problem_id"), votes, _column(rows, "extracted"))


def _column(rows: Sequence[Row], name: str) -> list[Any]:
    return [row[name] for row in rows]


def _times(tokens: float | None, k: int) -> float | None:
    return None if tokens is None else tokens * k


def _mean(rows: Sequence[Row], column: str) -> float | None:
    values = _column(rows, column)
    return None if None in values else float(np.mean(values))
