"""How well a model stays in character, from judges' scores (C.2) and pairwise preferences (Table 1).

Questions of one persona resemble each other, so personas are what intervals and tests take as independent; of
pairwise judgements problems are.
"""

import itertools
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from permix.results.claims.claims import Bounds, t_interval

Row = Mapping[str, Any]
Floats = NDArray[np.float64]
Numbers = dict[str, Any]
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
EXACT = 16  # clusters up to which a test goes through all exchanges of sign
DRAWS = 10_000


def family(model: str) -> str:
    """Whose model it is, by its name; of one that is in no row, its own name."""
    return next((name for name, pattern in FAMILIES.items() if re.match(pattern, model.lower())), model)


def of_scores(table: Sequence[Row], text_writers: Iterable[str], tiebreaker: str = "") -> Numbers:
    """Every number of a personagym artifact, from its rows, one for each question and judge.

    `score`: the mean of all judges that gave any, on the questions that each of them scored; `judges`: each alone;
    `independent`: of the judges of another family than `text_writers`, the models that wrote questions and targets;
    `settled`: of all, with the median of their scores and that of the `tiebreaker` where it gave one (None without).
    """
    where = {row["question_id"]: (row["persona"], row["task"]) for row in table}
    by_judge = {name: [row for row in table if row["judge"] == name] for name in _names(table, "judge")}
    scores = {name: _scored(rows) for name, rows in by_judge.items()}
    third = scores.get(tiebreaker, {})
    counted = [name for name, found in scores.items() if found and name != tiebreaker]
    writers = sorted({*text_writers, *(row["question_writer"] for row in table)})
    families = {name: family(next((r["model"] for r in rows if r["model"]), name)) for name, rows in by_judge.items()}
    others = [name for name in counted if families[name] not in {family(writer) for writer in writers}]
    return {
        "questions": len(where),
        "personas": len(_names(table, "persona")),
        "score": _levels(_mean_of([scores[name] for name in counted]), where),
        "judges": {
            name: _levels(scores[name], where) | _said(rows) | {"family": families[name], "length": _by_length(rows)}
            for name, rows in by_judge.items()
            if name != tiebreaker
        },
        "settled": _settled([scores[name] for name in counted], third, by_judge.get(tiebreaker, ()), where)
        if tiebreaker
        else None,
        "text_writers": writers,
        "independent": {"judges": others, **_levels(_mean_of([scores[name] for name in others]), where)},
        "agreement": {
            f"{a}, {b}": agreement(scores[a], scores[b], where) for a, b in itertools.combinations(counted, 2)
        },
    }


def disputed(table: Sequence[Row], least: float) -> list[str]:
    """The questions whose scores lie `least` or more apart, in their order."""
    scores: dict[str, list[float]] = defaultdict(list)
    for row in table:
        if row["score"] is not None:
            scores[row["question_id"]].append(row["score"])
    return [key for key, found in scores.items() if max(found) - min(found) >= least]


def of_checks(probed: Sequence[Row], table: Sequence[Row]) -> dict[str, dict[str, Numbers]]:
    """{judge: {what was changed: how the score moved by it, over personas, and how often not at all}}."""
    before = {(row["judge"], row["question_id"]): row["score"] for row in table}
    found: dict[str, dict[str, Numbers]] = defaultdict(dict)
    for name, check in dict.fromkeys((row["judge"], row["check"]) for row in probed):
        gaps, who = {}, {}
        for row in probed:
            old = before.get((name, row["question_id"]))
            if (row["judge"], row["check"]) == (name, check) and row["score"] is not None and old is not None:
                gaps[row["question_id"]], who[row["question_id"]] = row["score"] - old, row["persona"]
        same = sum(gap == 0 for gap in gaps.values()) / len(gaps) if gaps else None
        found[name][check] = _clustered(gaps, who) | {"questions": len(gaps), "equal": same}
    return dict(found)


def agreement(first: Mapping[str, float], second: Mapping[str, float], where: Mapping[str, tuple[str, str]]) -> Numbers:
    """Of two judges on the questions that both scored: quadratically weighted kappa (Cohen 1968), Spearman's rank
    correlation, the share of equal scores, and second minus first; None where a number is not defined.
    """
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
    """Second minus first of two variants' scores on the questions that both have from the same judges.

    {"mean" or a task: {"mean", "low", "high", "p_value", "questions"}}; the test exchanges the variants persona by
    persona. Scores are paired by question and judge, then averaged over the judges.
    """
    where = {row["question_id"]: (row["persona"], row["task"]) for row in first}
    one, two = (
        {(r["question_id"], r["judge"]): r["score"] for r in t if r["score"] is not None} for t in (first, second)
    )
    judged: dict[str, list[float]] = defaultdict(list)
    for key in one:
        if key in two:
            judged[key[0]].append(two[key] - one[key])
    gaps = {question: sum(values) / len(values) for question, values in judged.items()}
    tasks = dict.fromkeys(where[question][1] for question in gaps)
    chosen = {"mean": gaps} | {task: {q: gap for q, gap in gaps.items() if where[q][1] == task} for task in tasks}
    return {
        name: _clustered(found, who)
        | {"p_value": _exchanged(list(_by_cluster(found, who).values())), "questions": len(found)}
        for name, found in chosen.items()
        for who in [{q: where[q][0] for q in found}]
    }


def of_preferences(table: Sequence[Row]) -> Numbers:
    """Each judge's verdict on two models, from rows of both orders of every pair.

    A pair is won by the model that is preferred in both orders; all else that was judged is a tie, a flip among it.
    """
    return {name: _preferred([row for row in table if row["judge"] == name]) for name in _names(table, "judge")}


def _preferred(table: Sequence[Row]) -> Numbers:
    pairs: dict[tuple[str, str], dict[str, float | None]] = defaultdict(dict)
    for row in table:
        sign = 1 if row["order"] == "first" else -1
        pairs[row["problem_id"], row["persona"]][row["order"]] = None if row["score"] is None else sign * row["score"]
    judged = {key: found for key, found in pairs.items() if None not in found.values() and len(found) == 2}
    outcomes = {key: _won(*found.values()) for key, found in judged.items()}  # type: ignore[arg-type]
    decided = [row for row in table if row["score"]]
    shown = [row["score"] > 0 for row in decided]
    longer = [(row["score"] > 0) == ahead for row in decided for ahead in _ahead(row)]
    return _said(table) | {
        "pairs": len(pairs),
        "not_judged": len(pairs) - len(judged),
        "flips": sum(set(found.values()) == {1.0, -1.0} for found in judged.values()),
        "first_shown": sum(shown) / len(shown) if shown else None,
        "longer": sum(longer) / len(longer) if longer else None,
        **_rates(outcomes),
        "by_persona": {
            who: _rates({key: won for key, won in outcomes.items() if key[1] == who})
            for who in _names(table, "persona")
        },
    }


def _ahead(row: Row) -> list[bool]:
    """Whether the answer that was shown first is the longer one; nothing where both are equally long."""
    first, second = len(row["first"]), len(row["second"])
    return [] if first == second else [(first > second) == (row["order"] == "first")]


def _won(one: float, two: float) -> float:
    return one if one == two else 0.0


def _rates(outcomes: Mapping[tuple[str, str], float]) -> Numbers:
    """Wins of both models, ties, win rates with and without ties and the net margin, first minus second."""
    counts = Counter(outcomes.values())
    problems = list(dict.fromkeys(problem for problem, _ in outcomes))
    cells = np.zeros((len(problems), 3))  # won by the first, by the second, tied
    for (problem, _), won in outcomes.items():
        cells[problems.index(problem), {1.0: 0, -1.0: 1, 0.0: 2}[won]] += 1
    found: Numbers = {"first_wins": counts[1.0], "second_wins": counts[-1.0], "ties": counts[0.0]}
    rng = np.random.default_rng(0)
    size = len(problems)
    weights = rng.multinomial(size, np.full(size, 1 / size), size=2000) if size > 1 else np.zeros((0, size))
    for name, over, under in (
        ("first_wr", [1, 0, 0], [1, 1, 1]),
        ("second_wr", [0, 1, 0], [1, 1, 1]),
        ("first_wr_no_tie", [1, 0, 0], [1, 1, 0]),
        ("second_wr_no_tie", [0, 1, 0], [1, 1, 0]),
        ("net_margin", [1, -1, 0], [1, 1, 1]),
    ):
        found[name] = _ratio(cells.sum(0), over, under, weights @ cells)
    return found | {"p_value": _exchanged(list(cells[:, 0] - cells[:, 1]))}


def _ratio(total: Floats, over: Sequence[int], under: Sequence[int], again: Floats) -> Numbers:
    """A ratio of counts with its bootstrap interval over problems."""
    if not total @ under:
        return {"value": None, "low": None, "high": None}
    bottoms = again @ under
    sample = (again @ over)[bottoms > 0] / bottoms[bottoms > 0]
    low, high = np.quantile(sample, [0.025, 0.975]) if len(sample) else (None, None)
    ends = {"low": None if low is None else float(low), "high": None if high is None else float(high)}
    return {"value": float(total @ over / (total @ under)), **ends}


def _settled(
    scores: Sequence[Mapping[str, float]],
    third: Mapping[str, float],
    table: Sequence[Row],
    where: Mapping[str, tuple[str, str]],
) -> Numbers:
    """The mean of the judges, or the median of all where there is a third score."""
    both = _mean_of(scores)
    medians = {key: float(np.median([*(s[key] for s in scores if key in s), third[key]])) for key in third}
    return _levels(both | medians, where) | _said(table) | {"asked": len(table)}


def _by_length(table: Sequence[Row]) -> float | None:
    """Spearman's rank correlation of a judge's scores with the answers' lengths in characters."""
    pairs = [(row["score"], len(row["answer"])) for row in table if row["score"] is not None]
    scores, lengths = (
        np.array(column, dtype=np.float64) for column in (zip(*pairs, strict=True) if pairs else ((), ()))
    )
    return _correlation(_ranks(scores), _ranks(lengths))


def _levels(scores: Mapping[str, float], where: Mapping[str, tuple[str, str]]) -> Numbers:
    """The mean score with its interval: over all, by task and by persona."""
    people = {key: where[key][0] for key in scores}
    tasks = list(dict.fromkeys(task for _, task in where.values()))
    by_persona = _by(scores, {key: where[key][0] for key in scores})
    return {
        **_clustered(scores, people, SCALE),
        "scored": len(scores),
        "tasks": {
            task: _clustered({k: s for k, s in scores.items() if where[k][1] == task}, people, SCALE) for task in tasks
        },
        "by_persona": {who: _interval(list(found.values()), SCALE) for who, found in by_persona.items()},
    }


def _said(table: Sequence[Row]) -> Numbers:
    """What a judge said beside scores: how often it gave none and why, how often it was asked again, its own names."""
    return {
        "missing": sum(row["score"] is None for row in table),
        "statuses": dict(sorted(Counter(row["status"] for row in table).items())),
        "retries": sum(row["retries"] for row in table),
        "models": sorted({row["model"] for row in table if row["model"]}),
    }


def _scored(table: Iterable[Row]) -> dict[str, float]:
    return {row["question_id"]: row["score"] for row in table if row["score"] is not None}


def _mean_of(scores: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The mean of all judges, where each gave a score: judges differ in level, so none may be missing."""
    if not scores:
        return {}
    return {key: sum(s[key] for s in scores) / len(scores) for key in scores[0] if all(key in s for s in scores)}


def _clustered(values: Mapping[str, float], cluster: Mapping[str, str], bounds: Bounds | None = None) -> Numbers:
    """The mean of the clusters' means and its t interval."""
    return _interval(list(_by_cluster(values, cluster).values()), bounds)


def _by_cluster(values: Mapping[str, float], cluster: Mapping[str, str]) -> dict[str, float]:
    return {name: sum(found.values()) / len(found) for name, found in _by(values, cluster).items()}


def _by(values: Mapping[str, float], cluster: Mapping[str, str]) -> dict[str, dict[str, float]]:
    groups: dict[str, dict[str, float]] = defaultdict(dict)
    for key, value in values.items():
        groups[cluster[key]][key] = value
    return groups


def _interval(values: Sequence[float], bounds: Bounds | None = None) -> Numbers:
    mean, low, high = t_interval(values, bounds) if values else (None, None, None)
    return {"mean": mean, "low": low, "high": high}


def _exchanged(values: Sequence[float]) -> float | None:
    """Two-sided p-value that the mean is 0: how often signs drawn at random give one as far from it.

    None for a single value.
    """
    if len(values) < 2:
        return None
    moved = np.asarray(values, dtype=np.float64)
    if len(moved) <= EXACT:
        signs = np.array(list(itertools.product((1, -1), repeat=len(moved))), dtype=np.int8)
    else:
        signs = np.random.default_rng(0).choice(np.array([1, -1], dtype=np.int8), size=(DRAWS, len(moved)))
        signs[0] = 1
    beyond = np.abs(signs @ moved) >= abs(moved.sum()) - 1e-9
    return float(beyond.mean())


def _kappa(a: Floats, b: Floats) -> float | None:
    """1 - observed / expected squared difference, the expected one of independent judges with the same marginals."""
    if not len(a):
        return None
    expected = float(np.square(a[:, None] - b[None, :]).mean())
    return 1 - float(np.square(a - b).mean()) / expected if expected else None


def _ranks(values: Floats) -> Floats:
    """Ranks, equal values sharing the mean of theirs."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    ranks: Floats = (ends - (counts - 1) / 2)[place]
    return ranks


def _correlation(a: Floats, b: Floats) -> float | None:
    if len(a) < 2 or not a.std() or not b.std():
        return None
    return float(np.corrcoef(a, b)[0, 1])


def _names(table: Iterable[Row], column: str) -> list[str]:
    return list(dict.fromkeys(row[column] for row in table))
