"""Every number of a sweep on one benchmark, computed from its rows (sections 3.1 and 4.2)."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from permix.errors import BadInput
from permix.prompting.persona import CONTROL_KEYS
from permix.results.measures import pss
from permix.results.measures.intervals import defined, mean
from permix.toy import style

Row = dict[str, Any]


def of_rows(table: Sequence[Row], *, draws: int, toy: bool) -> dict[str, Any]:
    """Return accuracies, PSS and related numbers of a sweep's rows on one benchmark.

    The controls are not part of PSS. `toy` adds voice and method by the toy world's markers. Recovery is trained and
    measured on these rows. Categories need a column `category`. A number that is not recorded or not defined is None.
    """
    from permix.results.measures import recovery

    items = [row for row in table if row["persona"] not in CONTROL_KEYS]
    columns = ([row[name] for row in items] for name in ("score", "persona", "problem_id", "run"))
    statistics = pss.compute(*columns, seed=0, draws=draws)
    of_pss = {k: defined(v) for k, v in statistics.items() if k not in ("accuracy", "accuracy_low", "accuracy_high")}
    by_persona, runs = _by(table, "persona"), len({row["run"] for row in items})
    intervals = _shares(table, "persona")
    passed, voted = _repeated(table, runs)
    people = {
        key: {
            **{end: defined(intervals[key][end]) for end in ("low", "high")},
            "pass": passed[runs][key],
            "majority": None if voted is None else voted[key],
            "tokens_out": _mean(row["tokens_out"] for row in rows),
            "truncated": _mean(row["finish"] and row["finish"] == "length" for row in rows),
        }
        for key, rows in by_persona.items()
    }
    characters = [key for key in by_persona if key not in CONTROL_KEYS]
    return {
        "problems": len({row["problem_id"] for row in items}),
        "runs": runs,
        "personas": len(characters),
        "pss": of_pss,
        "accuracy": {key: _mean(row["score"] for row in rows) for key, rows in by_persona.items()},
        "by_persona": people,
        "by_category": {
            name: {k: defined(v) for k, v in share.items()}
            for name, share in _shares([row for row in items if row.get("category")], "category").items()
        },
        "pass_at": {str(k): _mean(by_key[key] for key in characters) for k, by_key in passed.items()},
        "majority": None if voted is None else _mean(voted[key] for key in characters),
        "truncated": _mean(row["finish"] and row["finish"] == "length" for row in table),
        "tokens_out": _mean(row["tokens_out"] for row in table),
        "recovery": recovery.of_rows(table, draws=draws),
        **(_style(by_persona) if toy else {"voice": None, "voice_by_persona": {}, "methods": None}),
    }


def of_sound(table: Sequence[Row], *, draws: int, toy: bool) -> dict[str, Any]:
    """Return `sound`: the main numbers without problems that their source marks as broken; {} if none is marked."""
    broken = {row["problem_id"]: row["erratum"] for row in table if row.get("erratum")}
    if not broken:
        return {}
    rest = [row for row in table if row["problem_id"] not in broken]
    numbers = of_rows(rest, draws=draws, toy=toy) if rest else {}
    main = {key: numbers[key] for key in ("problems", "pss", "accuracy") if key in numbers}
    return {"sound": {"left_out": dict(sorted(broken.items())), **main}}


def of_refused(table: Sequence[Row]) -> dict[str, Any]:
    """Return `refused`: by persona the prompts that the server refused, which count as wrong; {} if there is none."""
    counts = Counter(row["persona"] for row in table if row.get("status") == "refused")
    return {"refused": dict(sorted(counts.items()))} if counts else {}


def compare(first: Sequence[Row], second: Sequence[Row], *, draws: int) -> dict[str, dict[str, float | None]]:
    """Return second minus first, {measure: {"difference", "low", "high", "p_value"}}; BadInput for unlike sweeps."""
    before, after = ({(r["persona"], r["problem_id"], r["run"]): r["score"] for r in t} for t in (first, second))
    if before.keys() != after.keys():
        key, problem, run = min(before.keys() ^ after.keys(), key=str)
        raise BadInput(
            f"Only one of the two sweeps has run {run} of {problem} under {key!r}: "
            "compare sweeps of the same problems, personas and runs."
        )
    keys = [key for key in before if key[0] not in CONTROL_KEYS]
    scores = [before[key] for key in keys], [after[key] for key in keys]
    tested = pss.paired(*scores, [key[0] for key in keys], [key[1] for key in keys], draws=draws)
    measures = {name: _difference(tested, name) for name in ("pss", "worst", "best", "mean", "pss_corrected")}
    for control in CONTROL_KEYS:
        if keys := [key for key in before if key[0] == control]:
            scores = [before[key] for key in keys], [after[key] for key in keys]
            measures[control] = _difference(pss.difference(*scores, [key[1] for key in keys], draws=draws), "mean")
    return measures


def _difference(tested: Mapping[str, float], name: str) -> dict[str, float | None]:
    low, high, p = (defined(tested[f"{name}_{end}"]) for end in ("low", "high", "p_value"))
    if low == high:  # equal resamples do not measure the uncertainty
        low = high = None
    return {"difference": defined(tested[name]), "low": low, "high": high, "p_value": p}


def _repeated(table: Sequence[Row], runs: int) -> tuple[dict[int, dict[str, float]], dict[str, float] | None]:
    """Return by persona pass@k for k = 1, 2, 4, … and all runs, and maj@k of all runs (None if not recorded)."""
    scores, personas, problems = ([row[name] for row in table] for name in ("score", "persona", "problem_id"))
    sizes = sorted({k for k in (1, 2, 4, 8, 16, 32, 64) if k < runs} | {runs})
    passed = {k: pss.pass_at(scores, personas, problems, k) for k in sizes}
    answers = [row.get("extracted") for row in table]
    if all(answer is None for answer in answers) and any(
        row.get("status") not in ("no_answer", "refused") for row in table
    ):
        return passed, None
    return passed, pss.majority(scores, personas, problems, answers)


def _shares(table: Sequence[Row], group: str) -> dict[str, dict[str, float]]:
    if not table:
        return {}
    columns = ([row[name] for row in table] for name in ("score", group, "problem_id"))
    return pss.shares(*columns)


def _style(by_persona: Mapping[str, Sequence[Row]]) -> dict[str, Any]:
    people = {key: rows for key, rows in by_persona.items() if key not in CONTROL_KEYS}
    voices = {k: _mean(style.voice_expressed(k, row["completion"]) for row in rows) for k, rows in people.items()}
    methods = {key: Counter(style.method(row["completion"]) for row in rows) for key, rows in by_persona.items()}
    shares = {key: {name: n / counts.total() for name, n in sorted(counts.items())} for key, counts in methods.items()}
    return {"voice": _mean(voices.values()), "voice_by_persona": voices, "methods": shares}


def voice_interval(table: Sequence[Row]) -> tuple[float | None, float | None]:
    """Return the 95 % interval of a toy sweep's voice, a problem being one cluster; None for a single problem."""
    items = [row for row in table if row["persona"] not in CONTROL_KEYS]
    expressed = [float(style.voice_expressed(row["persona"], row["completion"])) for row in items]
    share = pss.shares(expressed, ["voice"] * len(items), [row["problem_id"] for row in items])["voice"]
    return defined(share["low"]), defined(share["high"])


def _by(table: Iterable[Row], column: str) -> dict[str, list[Row]]:
    groups: dict[str, list[Row]] = defaultdict(list)
    for row in table:
        groups[row[column]].append(row)
    return groups


def _mean(values: Iterable[float | None]) -> float | None:
    average = mean(values)
    return None if average is None else round(average, 6)
