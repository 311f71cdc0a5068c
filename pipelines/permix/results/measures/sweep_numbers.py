"""Every number of a sweep on one benchmark, as a function of its rows (sections 3.1 and 4.2)."""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from permix.errors import BadInput
from permix.prompting import persona

Row = dict[str, Any]
CONTROLS = tuple(control.key for control in persona.CONTROLS)
_COLUMNS = {"scores": "score", "personas": "persona", "problems": "problem_id", "runs": "run"}


def of_rows(table: Sequence[Row], *, draws: int, toy: bool) -> dict[str, Any]:
    """Accuracies, PSS and what stands beside it, from a sweep's rows on one benchmark.

    The controls stand beside the personas and stay out of PSS; `toy` adds voice and method by the toy world's markers.
    Recovery is learned and measured on these rows; it is None where completions are not recorded.
    Categories are known where the rows have a `category`; what is not recorded or not defined is None.
    """
    from permix.results.measures import pss, recovery

    items = [row for row in table if row["persona"] not in CONTROLS]
    columns = {name: [row[source] for row in items] for name, source in _COLUMNS.items()}
    statistics = pss.compute(**columns, seed=0, draws=draws)
    for key in ("accuracy", "accuracy_low", "accuracy_high"):
        statistics.pop(key)
    by_persona, runs = _by(table, "persona"), len({row["run"] for row in items})
    intervals = _shares(table, "persona")
    passed, voted = _repeated(table, runs)
    people = {
        key: {
            **{end: _defined(intervals[key][end]) for end in ("low", "high")},
            "pass": passed[runs][key],
            "majority": None if voted is None else voted[key],
            "tokens_out": _mean(row["tokens_out"] for row in rows),
            "truncated": _mean(row["finish"] and row["finish"] == "length" for row in rows),
        }
        for key, rows in by_persona.items()
    }
    characters = [key for key in by_persona if key not in CONTROLS]
    return {
        "problems": len({row["problem_id"] for row in items}),
        "runs": runs,
        "personas": len(characters),
        "pss": {k: _defined(v) for k, v in statistics.items()},
        "accuracy": {key: _mean(row["score"] for row in rows) for key, rows in by_persona.items()},
        "by_persona": people,
        "by_category": {
            name: {k: _defined(v) for k, v in found.items()}
            for name, found in _shares([row for row in items if row.get("category")], "category").items()
        },
        "pass_at": {str(k): _mean(found[key] for key in characters) for k, found in passed.items()},
        "majority": None if voted is None else _mean(voted[key] for key in characters),
        "truncated": _mean(row["finish"] and row["finish"] == "length" for row in table),
        "tokens_out": _mean(row["tokens_out"] for row in table),
        "recovery": recovery.of_rows(table, draws=draws),
        **(_style(by_persona) if toy else {"voice": None, "voice_by_persona": {}, "methods": None}),
    }


def of_sound(table: Sequence[Row], *, draws: int, toy: bool) -> dict[str, Any]:
    """`sound`: the main numbers without the problems that their source marks as broken; {} where there are none."""
    broken = {row["problem_id"]: row["erratum"] for row in table if row.get("erratum")}
    if not broken:
        return {}
    rest = [row for row in table if row["problem_id"] not in broken]
    found = of_rows(rest, draws=draws, toy=toy) if rest else {}
    kept = {key: found[key] for key in ("problems", "pss", "accuracy") if key in found}
    return {"sound": {"left_out": dict(sorted(broken.items())), **kept}}


def compare(first: Sequence[Row], second: Sequence[Row], *, draws: int) -> dict[str, dict[str, float | None]]:
    """Second minus first in pss, worst, best, mean, pss_corrected and under each control, on the rows they share.

    {measure: {"difference", "low", "high", "p_value"}}, None where it is not defined.
    BadInput where the two sweeps did not answer the same problems under the same personas equally often.
    """
    from permix.results.measures import pss

    one, two = ({(r["persona"], r["problem_id"], r["run"]): r["score"] for r in table} for table in (first, second))
    if one.keys() != two.keys():
        who, problem, run = min(one.keys() ^ two.keys(), key=str)
        raise BadInput(
            f"Only one of the two sweeps has run {run} of {problem} under {who!r}: "
            "compare sweeps of the same problems, personas and runs."
        )
    keys = [key for key in one if key[0] not in CONTROLS]
    scores = [one[key] for key in keys], [two[key] for key in keys]
    found = pss.paired(*scores, [key[0] for key in keys], [key[1] for key in keys], draws=draws)
    measures = {name: _difference(found, name) for name in ("pss", "worst", "best", "mean", "pss_corrected")}
    for control in CONTROLS:
        if keys := [key for key in one if key[0] == control]:
            scores = [one[key] for key in keys], [two[key] for key in keys]
            measures[control] = _difference(pss.difference(*scores, [key[1] for key in keys], draws=draws), "mean")
    return measures


def _difference(found: Mapping[str, float], name: str) -> dict[str, float | None]:
    low, high, p = (_defined(found[f"{name}_{end}"]) for end in ("low", "high", "p_value"))
    if low == high:  # every resample is the same: that says nothing of how far the difference may lie elsewhere
        low = high = None
    return {"difference": _defined(found[name]), "low": low, "high": high, "p_value": p}


def _repeated(table: Sequence[Row], runs: int) -> tuple[dict[int, dict[str, float]], dict[str, float] | None]:
    """pass@k for k = 1, 2, 4, … and all runs, and maj@k of all runs, by persona; no maj@k where no answer is known."""
    from permix.results.measures import pss

    scores, who, problems = ([row[name] for row in table] for name in ("score", "persona", "problem_id"))
    sizes = sorted({k for k in (1, 2, 4, 8, 16, 32, 64) if k < runs} | {runs})
    passed = {k: pss.pass_at(scores, who, problems, k) for k in sizes}
    answers = [row.get("extracted") for row in table]
    if all(answer is None for answer in answers) and any(row.get("status") != "no_answer" for row in table):
        return passed, None
    return passed, pss.majority(scores, who, problems, answers)


def _shares(table: Sequence[Row], group: str) -> dict[str, dict[str, float]]:
    from permix.results.measures import pss

    if not table:
        return {}
    columns = ([row[name] for row in table] for name in ("score", group, "problem_id"))
    return pss.shares(*columns)


def _style(by_persona: Mapping[str, Sequence[Row]]) -> dict[str, Any]:
    """What the toy world's own markers say of voice and method; the personas' mean leaves the controls out."""
    from permix.toy import style

    spoken = {
        key: _mean(style.voice_expressed(key, row["completion"]) for row in rows)
        for key, rows in by_persona.items()
        if key not in CONTROLS
    }
    methods = {key: Counter(style.method(row["completion"]) for row in rows) for key, rows in by_persona.items()}
    shares = {key: {name: n / counts.total() for name, n in sorted(counts.items())} for key, counts in methods.items()}
    return {"voice": _mean(spoken.values()), "voice_by_persona": spoken, "methods": shares}


def voice_interval(table: Sequence[Row]) -> tuple[float | None, float | None]:
    """The 95 % interval of a toy sweep's voice, made as that of accuracy under one persona (`pss.shares`).

    All personas' and runs' answers to one problem are one cluster: copies of an answer tell nothing new. None from a
    single problem.
    """
    from permix.results.measures import pss
    from permix.toy import style

    items = [row for row in table if row["persona"] not in CONTROLS]
    spoken = [float(style.voice_expressed(row["persona"], row["completion"])) for row in items]
    found = pss.shares(spoken, ["voice"] * len(items), [row["problem_id"] for row in items])["voice"]
    return _defined(found["low"]), _defined(found["high"])


def _by(table: Iterable[Row], column: str) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = defaultdict(list)
    for row in table:
        found[row[column]].append(row)
    return found


def _mean(values: Iterable[float | None]) -> float | None:
    """The mean; None where a value is not recorded."""
    numbers = list(values)
    known = [float(v) for v in numbers if v is not None]
    return round(sum(known) / len(known), 6) if len(known) == len(numbers) else None


def _defined(value: Any) -> Any:
    """None for what is not defined: JSON has no nan."""
    return None if isinstance(value, float) and math.isnan(value) else value
