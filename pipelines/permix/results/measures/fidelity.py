"""How well a model stays in character, from judges' scores (C.2).

Questions of one persona resemble each other, so intervals and tests treat personas, not questions, as independent.
"""

import itertools
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from permix.results.measures.intervals import Bounds, t_interval

Row = Mapping[str, Any]
Floats = NDArray[np.float64]
Numbers = dict[str, Any]
Key = TypeVar("Key")
FAMILIES = {
    "OpenAI": r"(openai/)?(gpt-|o\d|chatgpt)",
    "DeepSeek": r"deepseek",
    "Llama": r"(meta-llama/)?llama",
    "Qwen": r"(qwen/)?(qwen|qwq)",
    "Gemma": r"(google/)?(gemma|gemini)",
    "Claude": r"(anthropic/)?claude",
    "Mistral": r"(mistralai/)?(mistral|mixtral|ministral|magistral)",
}
SCALE = 1.0, 5.0
EXACT = 16  # up to so many clusters a test goes through all exchanges of sign
DRAWS = 10_000


def family(model: str) -> str:
    """Return the model's family by its name; a model of an unknown family is its own."""
    return next((name for name, pattern in FAMILIES.items() if re.match(pattern, model.lower())), model)


def of_scores(table: Sequence[Row], text_writers: Iterable[str], tiebreaker: str = "") -> Numbers:
    """Return every number of a personagym artifact. `table` has one row per question and judge.

    `score`: the mean over the judges, on the questions that all of them scored. `judges`: each judge alone.
    `independent`: the judges whose family is not that of a text writer; `text_writers` are the models that wrote
    questions and targets. `settled`: the mean, or the median where the `tiebreaker` scored too; None without one.
    """
    where = {row["question_id"]: (row["persona"], row["task"]) for row in table}
    by_judge = {name: [row for row in table if row["judge"] == name] for name in unique(table, "judge")}
    scores = {
        name: {row["question_id"]: row["score"] for row in rows if row["score"] is not None}
        for name, rows in by_judge.items()
    }
    counted = [name for name, by_question in scores.items() if by_question and name != tiebreaker]
    writers = sorted({*text_writers, *(row["question_writer"] for row in table)})
    families = {name: family(next((r["model"] for r in rows if r["model"]), name)) for name, rows in by_judge.items()}
    panel, settled = [scores[name] for name in counted], None
    if tiebreaker:
        third, rows = scores.get(tiebreaker, {}), by_judge.get(tiebreaker, [])
        medians = {key: float(np.median([*(s[key] for s in panel if key in s), third[key]])) for key in third}
        settled = _levels(_mean_of(panel) | medians, where) | replies(rows) | {"asked": len(rows)}
    others = [name for name in counted if families[name] not in {family(writer) for writer in writers}]
    pairs = itertools.combinations(counted, 2)
    return {
        "questions": len(where),
        "personas": len(unique(table, "persona")),
        "score": _levels(_mean_of(panel), where),
        "judges": {
            name: _levels(scores[name], where) | replies(rows) | {"family": families[name], "length": _by_length(rows)}
            for name, rows in by_judge.items()
            if name != tiebreaker
        },
        "settled": settled,
        "text_writers": writers,
        "independent": {"judges": others, **_levels(_mean_of([scores[name] for name in others]), where)},
        "agreement": {f"{a}, {b}": agreement(scores[a], scores[b], where) for a, b in pairs},
    }


def disputed(table: Sequence[Row], least: float) -> list[str]:
    """Return the questions whose scores differ by `least` or more, in the order of the table."""
    scores: dict[str, list[float]] = defaultdict(list)
    for row in table:
        if row["score"] is not None:
            scores[row["question_id"]].append(row["score"])
    return [question for question, values in scores.items() if max(values) - min(values) >= least]


def of_checks(probed: Sequence[Row], table: Sequence[Row]) -> dict[str, dict[str, Numbers]]:
    """Return {judge: {check: mean change of the score over personas, and the share of unchanged scores}}."""
    before = {(row["judge"], row["question_id"]): row["score"] for row in table}
    changes: dict[str, dict[str, Numbers]] = defaultdict(dict)
    for name, check in dict.fromkeys((row["judge"], row["check"]) for row in probed):
        gaps, personas = {}, {}
        for row in probed:
            old = before.get((name, row["question_id"]))
            if (row["judge"], row["check"]) == (name, check) and row["score"] is not None and old is not None:
                gaps[row["question_id"]], personas[row["question_id"]] = row["score"] - old, row["persona"]
        same = sum(gap == 0 for gap in gaps.values()) / len(gaps) if gaps else None
        changes[name][check] = _clustered(gaps, personas) | {"questions": len(gaps), "equal": same}
    return dict(changes)


def agreement(first: Mapping[str, float], second: Mapping[str, float], where: Mapping[str, tuple[str, str]]) -> Numbers:
    """Compare two judges: quadratically weighted kappa (Cohen 1968), Spearman's rank correlation, equal scores."""
    both = [key for key in first if key in second]
    a, b = (np.array([scores[key] for key in both], dtype=np.float64) for scores in (first, second))
    gaps = {key: second[key] - first[key] for key in both}
    return {
        "questions": len(both),
        "kappa": _kappa(a, b),
        "spearman": _correlation(_ranks(a), _ranks(b)),
        "equal": float((a == b).mean()) if both else None,
        "difference": _clustered(gaps, {key: where[key][0] for key in both}),
    }


def compare(first: Sequence[Row], second: Sequence[Row]) -> dict[str, Numbers]:
    """Return the differences second minus first of two variants' scores, paired by question and judge.

    {"mean" or a task: {"mean", "low", "high", "p_value", "questions"}}. Pairs are averaged over the judges. The test
    exchanges the variants persona by persona.
    """
    where = {row["question_id"]: (row["persona"], row["task"]) for row in first}
    personas = {question: persona for question, (persona, _) in where.items()}
    before, after = (
        {(r["question_id"], r["judge"]): r["score"] for r in t if r["score"] is not None} for t in (first, second)
    )
    judged = {key: after[key] - before[key] for key in before if key in after}
    gaps = _by_cluster(judged, {key: key[0] for key in judged})
    tasks = dict.fromkeys(where[question][1] for question in gaps)
    parts = {"mean": gaps} | {task: {q: gap for q, gap in gaps.items() if where[q][1] == task} for task in tasks}
    return {
        name: _clustered(part, personas)
        | {"p_value": exchange_test(list(_by_cluster(part, personas).values())), "questions": len(part)}
        for name, part in parts.items()
    }


def _by_length(table: Sequence[Row]) -> float | None:
    """Return Spearman's rank correlation of a judge's scores with the lengths of the answers in characters."""
    pairs = [(row["score"], len(row["answer"])) for row in table if row["score"] is not None]
    scores, lengths = np.array(pairs, dtype=np.float64).reshape(-1, 2).T
    return _correlation(_ranks(scores), _ranks(lengths))


def _levels(scores: Mapping[str, float], where: Mapping[str, tuple[str, str]]) -> Numbers:
    personas = {key: where[key][0] for key in scores}
    tasks = list(dict.fromkeys(task for _, task in where.values()))
    return {
        **_clustered(scores, personas, SCALE),
        "scored": len(scores),
        "tasks": {
            task: _clustered({k: s for k, s in scores.items() if where[k][1] == task}, personas, SCALE)
            for task in tasks
        },
        "by_persona": {persona: _interval(own, SCALE) for persona, own in _by(scores, personas).items()},
    }


def replies(table: Sequence[Row]) -> Numbers:
    """Count a judge's missing scores, statuses and retries, and list the names that its server gave itself."""
    return {
        "missing": sum(row["score"] is None for row in table),
        "statuses": dict(sorted(Counter(row["status"] for row in table).items())),
        "retries": sum(row["retries"] for row in table),
        "models": sorted({row["model"] for row in table if row["model"]}),
    }


def _mean_of(scores: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return the mean over the judges. Judges differ in level, so a question needs a score from each."""
    if not scores:
        return {}
    return {key: sum(s[key] for s in scores) / len(scores) for key in scores[0] if all(key in s for s in scores)}


def _clustered(values: Mapping[str, float], cluster: Mapping[str, str], bounds: Bounds | None = None) -> Numbers:
    return _interval(list(_by_cluster(values, cluster).values()), bounds)


def _by_cluster(values: Mapping[Key, float], cluster: Mapping[Key, str]) -> dict[str, float]:
    return {name: sum(members) / len(members) for name, members in _by(values, cluster).items()}


def _by(values: Mapping[Key, float], cluster: Mapping[Key, str]) -> dict[str, list[float]]:
    groups: dict[str, list[float]] = defaultdict(list)
    for key, value in values.items():
        groups[cluster[key]].append(value)
    return groups


def _interval(values: Sequence[float], bounds: Bounds | None = None) -> Numbers:
    mean, low, high = t_interval(values, bounds) if values else (None, None, None)
    return {"mean": mean, "low": low, "high": high}


def exchange_test(values: Sequence[float]) -> float | None:
    """Return the two-sided p-value of a zero mean under random exchanges of sign; None for a single value."""
    if len(values) < 2:
        return None
    differences = np.asarray(values, dtype=np.float64)
    if len(differences) <= EXACT:
        signs = np.array(list(itertools.product((1, -1), repeat=len(differences))), dtype=np.int8)
    else:
        signs = np.random.default_rng(0).choice(np.array([1, -1], dtype=np.int8), size=(DRAWS, len(differences)))
        signs[0] = 1
    beyond = np.abs(signs @ differences) >= abs(differences.sum()) - 1e-9
    return float(beyond.mean())


def _kappa(a: Floats, b: Floats) -> float | None:
    """Return 1 - observed / expected squared difference; expected: of independent judges with the same marginals."""
    if not len(a):
        return None
    expected = float(np.square(a[:, None] - b[None, :]).mean())
    return 1 - float(np.square(a - b).mean()) / expected if expected else None


def _ranks(values: Floats) -> Floats:
    """Return ranks; equal values get their mean rank."""
    _, level, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    ranks: Floats = (ends - (counts - 1) / 2)[level]
    return ranks


def _correlation(a: Floats, b: Floats) -> float | None:
    if len(a) < 2 or not a.std() or not b.std():
        return None
    return float(np.corrcoef(a, b)[0, 1])


def unique(table: Iterable[Row], column: str) -> list[str]:
    """Return the different values of a column, in the order of the table."""
    return list(dict.fromkeys(row[column] for row in table))
