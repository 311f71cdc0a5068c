"""The persona stability score (PSS; arXiv 2604.08986, Eq. 1) and its companions. Needs numpy only.

PSS = worst / best: the lowest and the highest accuracy of a model under any persona. Personas without any effect still
give PSS < 1, because the lowest and the highest of several noisy means differ. So scores per problem also give
intervals, the PSS expected without a persona effect, and a noise-corrected PSS.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]

BLOCK = 4_000_000  # numbers in a block of resamples: bounds the memory at about 100 MB for any size
DRAWS = 1000
TAIL = 0.025  # intervals are 95 % intervals
Z = 1.959964
SHOWN = ("pss", "worst", "best", "mean", "pss_corrected")  # the numbers with an interval


def compute(
    scores: Sequence[float],
    personas: Sequence[Any],
    problems: Sequence[Any] | None = None,
    runs: Sequence[Any] | None = None,
    seed: int = 0,
    draws: int = DRAWS,
) -> dict[str, Any]:
    """Compute PSS and its companions from one score in [0, 1] per row; README.md lists every key.

    `personas`, `problems` and `runs` label the rows. `draws` is the number of bootstrap resamples and of permutations,
    which depend on `seed` only. ValueError: no rows, lists of unequal length, fewer than two personas, a missing score
    or label, a score outside [0, 1], or personas that do not answer the same problems equally often.
    An undefined number (PSS if every score is 0, an interval from a single problem) is nan.
    `pss_low` to `pss_high` covers the PSS of a repetition with the same number of problems (see `_resampled`). The
    measured PSS lies outside if chance brought the personas closer together than noise explains. The interval of
    `pss_corrected` covers the PSS without sampling noise.
    """
    values = _scores(scores)
    persona, names = _codes(personas, "personas", len(values))
    totals, counts = _cells(values, [persona], [len(names)])
    result = _summary(totals / counts, names)
    if problems is not None:
        problem, problem_names = _codes(problems, "problems", len(values))
        totals, counts = _cells(values, [persona, problem], [len(names), len(problem_names)])
        _refuse_uneven(counts, names, problem_names)
        _, *ends = _wilson(totals, counts)
        for key, values_of in zip(("accuracy_low", "accuracy_high"), ends, strict=True):
            result[key] = {name: float(value) for name, value in zip(names, values_of, strict=True)}
        result |= _from_problems(totals, counts[0], np.random.default_rng(seed), draws)
    if runs is not None:
        run, run_names = _codes(runs, "runs", len(values))
        totals, counts = _cells(values, [persona, run], [len(names), len(run_names)])
        result |= _from_runs(totals, counts, names, run_names)
    return result


def paired(
    first: Sequence[float],
    second: Sequence[float],
    personas: Sequence[Any],
    problems: Sequence[Any],
    seed: int = 0,
    draws: int = DRAWS,
) -> dict[str, float]:
    """Compute second minus first in pss, pss_corrected, worst, best and mean, for two variants on the same rows.

    Each key `k` comes with `k_low`, `k_high` (bootstrap over problems, both variants on the same resampled problems)
    and `k_p_value` (two-sided; the two variants exchanged problem by problem). ValueError as in `compute`.
    """
    values = _scores(first), _scores(second)
    if len(values[0]) != len(values[1]):
        raise ValueError(f"There are {len(values[0])} first and {len(values[1])} second scores: give one pair per row.")
    persona, names = _codes(personas, "personas", len(values[0]))
    problem, problem_names = _codes(problems, "problems", len(values[0]))
    (totals, counts), (others, _) = (_cells(v, [persona, problem], [len(names), len(problem_names)]) for v in values)
    _refuse_uneven(counts, names, problem_names)
    return paired_cells(totals, others, counts[0], seed, draws)


def paired_cells(first: Floats, second: Floats, items: Floats, seed: int = 0, draws: int = DRAWS) -> dict[str, float]:
    """Compute `paired` from summed scores [personas, problems] and the rows per problem and persona [problems]."""
    rng = np.random.default_rng(seed)
    noise = _noise(first, items), _noise(second, items)
    observed = _shown(second.sum(1) / items.sum(), noise[1]) - _shown(first.sum(1) / items.sum(), noise[0])

    again, exchanged = [], []
    for weight in _weights(rng, draws, len(items)):
        a, b = (_resampled(weight, t, items, n)[1] for t, n in zip((first, second), noise, strict=True))
        again.append(_shown(b, noise[1]) - _shown(a, noise[0]))
    for swap in _swaps(rng, draws, len(items)):
        moved = swap @ (second - first).T
        a, b = (first.sum(1) + moved) / items.sum(), (second.sum(1) - moved) / items.sum()
        exchanged.append(_shown(b, noise[1]) - _shown(a, noise[0]))

    low, high = _interval(np.concatenate(again))
    null = np.concatenate(exchanged)
    result: dict[str, float] = {}
    for i, key in enumerate(SHOWN):
        beyond = np.sum(np.abs(null[:, i]) >= abs(observed[i]) - 1e-12) if math.isfinite(observed[i]) else math.nan
        result |= {key: observed[i], f"{key}_low": low[i], f"{key}_high": high[i]}
        result[f"{key}_p_value"] = (1 + beyond) / (1 + draws) if len(items) > 1 else math.nan
    return {key: float(value) for key, value in result.items()}


def difference(
    first: Sequence[float], second: Sequence[float], problems: Sequence[Any], seed: int = 0, draws: int = DRAWS
) -> dict[str, float]:
    """Compute second minus first in the mean score under one system prompt, for two variants on the same rows.

    Keys `mean`, `mean_low`, `mean_high`, `mean_p_value`, computed as in `paired`. ValueError as in `compute`.
    """
    values = _scores(first), _scores(second)
    if len(values[0]) != len(values[1]):
        raise ValueError(f"There are {len(values[0])} first and {len(values[1])} second scores: give one pair per row.")
    problem, names = _codes(problems, "problems", len(values[0]))
    ((gain,), (items,)) = _cells(values[1] - values[0], [np.zeros_like(problem), problem], [1, len(names)])
    rng, observed = np.random.default_rng(seed), gain.sum() / items.sum()
    if len(items) < 2:
        return {"mean": float(observed)} | {f"mean_{end}": math.nan for end in ("low", "high", "p_value")}
    again = np.concatenate([weight @ gain / (weight @ items) for weight in _weights(rng, draws, len(items))])
    null = np.concatenate([(gain.sum() - 2 * swap @ gain) / items.sum() for swap in _swaps(rng, draws, len(items))])
    low, high = _interval(again)
    p_value = (1 + np.sum(np.abs(null) >= abs(observed) - 1e-12)) / (1 + draws)
    return {"mean": float(observed), "mean_low": float(low), "mean_high": float(high), "mean_p_value": float(p_value)}


def holm(p_values: Sequence[float]) -> list[float]:
    """Correct the p-values of several comparisons for their number (Holm 1979); nan stays nan and is not counted."""
    raw = np.asarray(p_values, dtype=np.float64)
    corrected = np.full(raw.shape, np.nan)
    known = np.flatnonzero(np.isfinite(raw))
    order = known[np.argsort(raw[known], kind="stable")]
    steps = np.arange(len(order), 0, -1)
    corrected[order] = np.minimum(1, np.maximum.accumulate(raw[order] * steps)) if len(order) else []
    return [float(value) for value in corrected]


def shares(scores: Sequence[float], groups: Sequence[Any], problems: Sequence[Any]) -> dict[str, dict[str, float]]:
    """Compute the mean score of each group of rows with its 95 % interval: {group: {"accuracy", "low", "high"}}.

    Wilson's interval for the effective number of answers: answers to one problem are correlated and count for less
    (Dean and Pagano 2015, J. Surv. Stat. Methodol. 3:484). nan from a single problem. ValueError as in `compute`.
    """
    values = _scores(scores)
    group, names = _codes(groups, "groups", len(values))
    problem, problem_names = _codes(problems, "problems", len(values))
    intervals = _wilson(*_cells(values, [group, problem], [len(names), len(problem_names)]))
    return {
        name: dict(zip(("accuracy", "low", "high"), map(float, numbers), strict=True))
        for name, numbers in zip(names, np.stack(intervals, axis=1), strict=True)
    }


def pass_at(scores: Sequence[float], groups: Sequence[Any], problems: Sequence[Any], k: int) -> dict[str, float]:
    """{group: probability that one of k answers to a problem is right}, mean over the problems (pass@k, unbiased).

    Chen et al. 2021, arXiv 2107.03374, Eq. 1. Right is a score of 1. ValueError as in `compute`, and if a group has
    fewer than k answers to a problem.
    """
    right = np.floor(_scores(scores))
    group, names = _codes(groups, "groups", len(right))
    problem, problem_names = _codes(problems, "problems", len(right))
    hits, counts = _cells(right, [group, problem], [len(names), len(problem_names)])
    if (counts < k).any() or k < 1:
        raise ValueError(f"pass@{k} needs {k} answers of every group to every problem; one has {int(counts.min())}.")
    missed = np.ones_like(hits)
    for taken in range(k):
        missed *= np.clip((counts - hits - taken) / (counts - taken), 0, 1)
    return {name: float(1 - value) for name, value in zip(names, missed.mean(1), strict=True)}


def majority(
    scores: Sequence[float], groups: Sequence[Any], problems: Sequence[Any], answers: Sequence[str | None]
) -> dict[str, float]:
    """{group: accuracy of the most frequent answer to each problem} (maj@k, k = the number of answers).

    Wang et al. 2022, arXiv 2203.11171. All right answers (a score of 1) count as equal; None is not a vote; a tie
    counts for its share. ValueError as in `compute`.
    """
    right = np.floor(_scores(scores)).astype(bool)
    group, names = _codes(groups, "groups", len(right))
    problem, problem_names = _codes(problems, "problems", len(right))
    votes: dict[tuple[int, int], dict[str | bool, int]] = {}
    for g, q, is_right, text in zip(group.tolist(), problem.tolist(), right.tolist(), answers, strict=True):
        if is_right or text is not None:
            box, vote = votes.setdefault((g, q), {}), is_right or str(text)
            box[vote] = box.get(vote, 0) + 1
    won = np.zeros((len(names), len(problem_names)))
    for at, box in votes.items():
        most = max(box.values())
        won[at] = (box.get(True) == most) / sum(count == most for count in box.values())
    answered = np.zeros_like(won)
    answered[group, problem] = 1
    return {name: float(value) for name, value in zip(names, won.sum(1) / answered.sum(1), strict=True)}


def _wilson(totals: Floats, counts: Floats) -> tuple[Floats, Floats, Floats]:
    """Mean, low and high of each row of summed scores [groups, problems]; see `shares`."""
    answers, problems = counts.sum(1), (counts > 0).sum(1)
    mean = totals.sum(1) / answers
    squares = np.square(totals - mean[:, None] * counts).sum(1) * problems / np.maximum(problems - 1, 1)
    spread = mean * (1 - mean)
    size = np.divide(spread * answers**2, squares, out=answers.copy(), where=squares > 1e-12)
    size = np.where(spread > 1e-12, np.minimum(size, answers), problems)  # if all are 0 or 1, runs are taken as equal
    centre = (mean + Z**2 / (2 * size)) / (1 + Z**2 / size)
    half = Z / (1 + Z**2 / size) * np.sqrt(spread / size + (Z / (2 * size)) ** 2)
    low, high = np.clip(centre - half, 0, mean), np.clip(centre + half, mean, 1)
    return mean, np.where(problems > 1, low, np.nan), np.where(problems > 1, high, np.nan)


def _shown(accuracy: Floats, noise: float) -> Floats:
    """The five numbers SHOWN of accuracies [..., personas], stacked on the last axis."""
    fair = _corrected(accuracy, noise)
    ends = accuracy.min(-1), accuracy.max(-1), accuracy.mean(-1)
    return np.stack([_ratio(accuracy), *ends, _ratio(fair)], axis=-1)


def _summary(accuracy: Floats, names: list[str]) -> dict[str, Any]:
    worst, best = int(accuracy.argmin()), int(accuracy.argmax())
    quarter = np.sort(accuracy)[: math.ceil(len(names) / 4)]
    return {
        "pss": float(_ratio(accuracy)),
        "worst": float(accuracy[worst]),
        "best": float(accuracy[best]),
        "mean": float(accuracy.mean()),
        "worst_persona": names[worst],
        "best_persona": names[best],
        "gap": float(accuracy[best] - accuracy[worst]),
        "worst_quarter": float(quarter.mean()),
        "std_personas": float(accuracy.std(ddof=1)),
        "floor": bool(accuracy[worst] <= 0),
        "accuracy": {name: float(a) for name, a in zip(names, accuracy, strict=True)},
    }


def _from_problems(totals: Floats, items: Floats, rng: np.random.Generator, draws: int) -> dict[str, Any]:
    """Intervals, null and correction from the summed scores [personas, problems] and the rows per problem."""
    accuracy = totals.sum(1) / items.sum()
    noise = _noise(totals, items)
    plain, moved = zip(*(_resampled(w, totals, items, noise) for w in _weights(rng, draws, len(items))), strict=True)
    low, high = _interval(_shown(np.concatenate(moved), noise))
    floor = bool(np.quantile(np.concatenate(plain).min(1), TAIL) <= 0)
    null = np.concatenate(list(_permuted(rng, draws, totals))) / items.sum()
    null_pss, pss = _ratio(null), float(_ratio(accuracy))
    defined = len(items) > 1 and math.isfinite(pss)
    null_low, null_high = _interval(null_pss) if defined else (math.nan, math.nan)
    result: dict[str, Any] = {"pss_corrected": float(_shown(accuracy, noise)[-1])}
    for i, key in enumerate(SHOWN):
        result |= {f"{key}_low": float(low[i]), f"{key}_high": float(high[i])}
    if floor:
        result |= {"worst_low": 0.0, "pss_low": 0.0}
    result |= {
        "floor": floor,
        "pss_null": float(null_pss.mean()) if defined else math.nan,
        "pss_null_low": float(null_low),
        "pss_null_high": float(null_high),
        "p_value": float(1 + np.sum(null_pss <= pss + 1e-12)) / (1 + draws) if defined else math.nan,
        "problems": len(items),
    }
    return result


def _from_runs(totals: Floats, counts: Floats, names: list[str], run_names: list[str]) -> dict[str, Any]:
    """The paper's other definition of PSS, and the spread over runs, from the summed scores [personas, runs]."""
    if not counts.all():
        p, r = (int(i) for i in np.argwhere(counts == 0)[0])
        raise ValueError(f"Run {run_names[r]!r} lacks a score of persona {names[p]!r}: every persona needs every run.")
    by_run = (totals / counts).T
    ratios = _ratio(by_run)
    return {
        "mean_of_run_pss": float(np.nanmean(ratios)) if np.isfinite(ratios).any() else math.nan,
        "std_runs": float(by_run.mean(1).std(ddof=1)) if len(run_names) > 1 else math.nan,
        "runs": len(run_names),
    }


def _ratio(accuracy: Floats) -> Floats:
    """Worst / best over the last axis; nan where best is 0."""
    best = np.asarray(accuracy.max(-1))
    ratio: Floats = np.divide(accuracy.min(-1), best, out=np.full(best.shape, np.nan), where=best > 0)
    return ratio


def _noise(totals: Floats, items: Floats) -> float:
    """The variance of a persona's mean from the choice of problems and from sampling; nan for one problem.

    It is the persona-by-problem residual of a two-way analysis of variance over the number of problems: the difficulty
    that a problem has for every persona cancels out.
    """
    if len(items) < 2:
        return math.nan
    centred = totals - totals.mean(0)
    residual = centred - np.outer(centred.sum(1) / items.sum(), items)
    size = len(items) / (len(items) - 1)
    return float(size * np.square(residual).sum() / (len(totals) - 1) / items.sum() ** 2)


def _corrected(accuracy: Floats, noise: float) -> Floats:
    """Shrink accuracies to their mean until their variance is the observed one less `noise` (Louis 1984, JASA 79:393).

    Plain shrinkage is the best estimate of each mean, but draws worst and best together too far. This estimate has the
    right spread over the whole set.
    """
    mean, observed = accuracy.mean(-1, keepdims=True), accuracy.var(-1, ddof=1, keepdims=True)
    share = np.clip(1 - noise / np.maximum(observed, 1e-300), 0, 1)
    return np.asarray(mean + np.sqrt(share) * (accuracy - mean))


def _resampled(weight: Floats, totals: Floats, items: Floats, noise: float) -> tuple[Floats, Floats]:
    """Accuracies [resamples, personas] of resampled problems: plain, and centred on the corrected accuracies.

    Resampling adds noise to means that are already noisy, which would push worst down and best up a second time.
    """
    accuracy = totals.sum(1) / items.sum()
    plain = weight @ totals.T / (weight @ items)[:, None]
    return plain, np.clip(plain + _corrected(accuracy, noise) - accuracy, 0, 1)


def _weights(rng: np.random.Generator, draws: int, problems: int) -> Iterator[Floats]:
    """Blocks of bootstrap weights [resamples, problems]: the number of times that each problem is drawn."""
    for size in _blocks(draws, problems):
        yield rng.multinomial(problems, np.full(problems, 1 / problems), size=size).astype(np.float64)


def _swaps(rng: np.random.Generator, draws: int, problems: int) -> Iterator[Floats]:
    """Blocks of 0 and 1 [permutations, problems]: 1 exchanges the two variants of a pair."""
    for size in _blocks(draws, problems):
        yield rng.integers(0, 2, size=(size, problems)).astype(np.float64)


def _permuted(rng: np.random.Generator, draws: int, totals: Floats) -> Iterator[Floats]:
    """Blocks of summed scores [permutations, personas], personas exchanged at random within each problem.

    A persona's runs of one problem move together, because they can be more alike than those of two personas (low
    temperature). Personas that solve different problems, but equally many, do not count as an effect.
    """
    rows = np.ascontiguousarray(totals.T)
    for size in _blocks(draws, rows.size):
        many = np.tile(rows, (size, 1))
        rng.permuted(many, axis=1, out=many)
        yield many.reshape(size, *rows.shape).sum(1)


def _blocks(draws: int, width: int) -> Iterator[int]:
    step = max(1, BLOCK // width)
    yield from (min(step, draws - start) for start in range(0, draws, step))


def _interval(sample: Floats) -> Floats:
    """The 95 % percentile interval [2, ...] along the first axis, without undefined draws; nan if all are undefined."""
    columns = sample.reshape(len(sample), -1).T
    finite = [column[np.isfinite(column)] for column in columns]
    ends = [np.quantile(column, [TAIL, 1 - TAIL]) if len(column) else [np.nan, np.nan] for column in finite]
    return np.array(ends, dtype=np.float64).T.reshape(2, *sample.shape[1:])


def _scores(scores: Sequence[float]) -> Floats:
    try:
        values = np.asarray(scores, dtype=np.float64)
    except (TypeError, ValueError):
        raise ValueError("The scores are not all numbers: give one number in [0, 1] per row.") from None
    if values.ndim != 1 or not len(values):
        raise ValueError(f"The scores have the shape {values.shape}: give a flat list of at least two.")
    missing = np.flatnonzero(np.isnan(values))
    if len(missing):
        raise ValueError(
            f"{len(missing)} of {len(values)} scores are missing (first: row {missing[0]}): a failure is not a score. "
            "Grade those rows again or omit them for every persona."
        )
    outside = np.flatnonzero((values < 0) | (values > 1))
    if len(outside):
        row = outside[0]
        raise ValueError(f"The score {values[row]:g} in row {row} is outside [0, 1]: give shares, not percent.")
    return values


def _codes(labels: Sequence[Any], column: str, rows: int) -> tuple[Codes, list[str]]:
    """Row labels as numbers, and the sorted labels as text: the order of the rows does not matter."""
    if len(labels) != rows:
        raise ValueError(f"There are {len(labels)} {column} for {rows} scores: give one per score.")
    texts = {label: str(label) for label in set(labels)}
    if any(label is None or label != label for label in texts):
        raise ValueError(f"Some {column} are missing: give a label for every score.")
    number = {name: i for i, name in enumerate(sorted(set(texts.values())))}
    if column == "personas" and len(number) < 2:
        raise ValueError(f"All scores belong to the persona {min(number)!r}: PSS compares at least two personas.")
    code = {label: number[text] for label, text in texts.items()}
    return np.fromiter(map(code.__getitem__, labels), np.int64, rows), list(number)


def _cells(values: Floats, axes: list[Codes], shape: list[int]) -> tuple[Floats, Floats]:
    """Sum and number of the scores in each cell of the axes."""
    flat = np.ravel_multi_index(tuple(axes), tuple(shape))
    size = math.prod(shape)
    totals = np.bincount(flat, weights=values, minlength=size).astype(np.float64)
    counts = np.bincount(flat, minlength=size).astype(np.float64)
    return totals.reshape(shape), counts.reshape(shape)


def _refuse_uneven(counts: Floats, names: list[str], problem_names: list[str]) -> None:
    uneven = np.argwhere(counts != counts[0])
    if len(uneven):
        p, q = (int(i) for i in uneven[0])
        raise ValueError(
            f"Problem {problem_names[q]!r} has {counts[p, q]:g} scores under persona {names[p]!r} and "
            f"{counts[0, q]:g} under {names[0]!r}: every persona must answer the same problems equally often."
        )
