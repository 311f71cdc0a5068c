"""The persona stability score (PSS; arXiv 2604.08986, Eq. 1) and what must stand beside it. Needs numpy only.

PSS = worst / best: the lowest and the highest accuracy that a model reaches under any persona. Personas without any
effect still give PSS < 1, because the lowest and the highest of several noisy means are apart. Hence intervals, the
PSS expected without a persona effect, and a noise-corrected PSS come with it wherever scores are given per problem.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]

BLOCK = 4_000_000  # numbers that a block of resamples may hold: bounds the memory at about 100 MB, whatever the size
DRAWS = 1000
TAIL = 0.025  # intervals are 95 % intervals
SHOWN = ("pss", "worst", "best", "mean", "pss_corrected")  # what gets an interval


def compute(
    scores: Sequence[float],
    personas: Sequence[Any],
    problems: Sequence[Any] | None = None,
    runs: Sequence[Any] | None = None,
    seed: int = 0,
    draws: int = DRAWS,
) -> dict[str, Any]:
    """PSS and its companions, from one score in [0, 1] per row; README.md lists every key.

    `personas`, `problems` and `runs` label the rows. `draws` is the number of bootstrap resamples and of permutations;
    `seed` alone decides them. ValueError: no rows, lists of unequal length, fewer than two personas, a score or label
    that is missing or no number in [0, 1], or personas that do not answer the same problems equally often.
    A number that is not defined (PSS where every score is 0, an interval from a single problem) is nan.
    """
    values = _scores(scores)
    persona, names = _codes(personas, "personas", len(values))
    totals, counts = _cells(values, [persona], [len(names)])
    result = _summary(totals / counts, names)
    if problems is not None:
        problem, problem_names = _codes(problems, "problems", len(values))
        totals, counts = _cells(values, [persona, problem], [len(names), len(problem_names)])
        _refuse_uneven(counts, names, problem_names)
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
    """Second minus first in pss, pss_corrected, worst, best and mean, for two variants scored on the same rows.

    Each key `k` comes with `k_low`, `k_high` (bootstrap over problems, both variants on the same resampled problems)
    and `k_p_value` (two-sided; the two variants exchanged problem by problem). ValueError as in `compute`.
    """
    values = _scores(first), _scores(second)
    if len(values[0]) != len(values[1]):
        raise ValueError(f"There are {len(values[0])} first and {len(values[1])} second scores: give one pair per row.")
    persona, names = _codes(personas, "personas", len(values[0]))
    problem, problem_names = _codes(problems, "problems", len(values[0]))
    (one, counts), (two, _) = (_cells(v, [persona, problem], [len(names), len(problem_names)]) for v in values)
    _refuse_uneven(counts, names, problem_names)
    items, rng = counts[0], np.random.default_rng(seed)
    noise = _noise(one, items), _noise(two, items)
    observed = _shown(two.sum(1) / items.sum(), noise[1]) - _shown(one.sum(1) / items.sum(), noise[0])

    again, exchanged = [], []
    for weight in _weights(rng, draws, len(items)):
        a, b = (_resampled(weight, t, items, n)[1] for t, n in zip((one, two), noise, strict=True))
        again.append(_shown(b, noise[1]) - _shown(a, noise[0]))
    for swap in _swaps(rng, draws, len(items)):
        moved = swap @ (two - one).T
        a, b = (one.sum(1) + moved) / items.sum(), (two.sum(1) - moved) / items.sum()
        exchanged.append(_shown(b, noise[1]) - _shown(a, noise[0]))

    low, high = _interval(np.concatenate(again))
    null = np.concatenate(exchanged)
    result: dict[str, float] = {}
    for i, key in enumerate(SHOWN):
        beyond = np.sum(np.abs(null[:, i]) >= abs(observed[i]) - 1e-12) if math.isfinite(observed[i]) else math.nan
        result |= {key: observed[i], f"{key}_low": low[i], f"{key}_high": high[i]}
        result[f"{key}_p_value"] = (1 + beyond) / (1 + draws) if len(items) > 1 else math.nan
    return {key: float(value) for key, value in result.items()}


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
    """The paper's other reading of PSS, and the spread over runs, from the summed scores [personas, runs]."""
    if not counts.all():
        p, r = (int(i) for i in np.argwhere(counts == 0)[0])
        raise ValueError(f"Persona {names[p]!r} has no score in run {run_names[r]!r}: every persona needs every run.")
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
    """The variance of a persona's mean that the choice of problems and sampling explain; nan for one problem.

    It is the persona-by-problem residual of a two-way analysis of variance over the number of problems: how hard a
    problem is for every persona alike cancels out.
    """
    if len(items) < 2:
        return math.nan
    centred = totals - totals.mean(0)
    residual = centred - np.outer(centred.sum(1) / items.sum(), items)
    size = len(items) / (len(items) - 1)
    return float(size * np.square(residual).sum() / (len(totals) - 1) / items.sum() ** 2)


def _corrected(accuracy: Floats, noise: float) -> Floats:
    """Accuracies drawn to their mean until their variance is the observed one less `noise` (Louis 1984, JASA 79:393).

    Plain shrinkage estimates each mean best, but draws the ends together too far; this keeps the spread of the whole
    set right, which is what worst and best are read from.
    """
    mean, observed = accuracy.mean(-1, keepdims=True), accuracy.var(-1, ddof=1, keepdims=True)
    kept = np.clip(1 - noise / np.maximum(observed, 1e-300), 0, 1)
    return np.asarray(mean + np.sqrt(kept) * (accuracy - mean))


def _resampled(weight: Floats, totals: Floats, items: Floats, noise: float) -> tuple[Floats, Floats]:
    """Accuracies [resamples, personas] of resampled problems: as they are, and moved to lie around the corrected ones.

    Resampling adds noise to means that are noisy already, which would push worst down and best up a second time.
    """
    accuracy = totals.sum(1) / items.sum()
    plain = weight @ totals.T / (weight @ items)[:, None]
    return plain, np.clip(plain + _corrected(accuracy, noise) - accuracy, 0, 1)


def _weights(rng: np.random.Generator, draws: int, problems: int) -> Iterator[Floats]:
    """Blocks of bootstrap weights [resamples, problems]: how often each problem was drawn."""
    for size in _blocks(draws, problems):
        yield rng.multinomial(problems, np.full(problems, 1 / problems), size=size).astype(np.float64)


def _swaps(rng: np.random.Generator, draws: int, problems: int) -> Iterator[Floats]:
    """Blocks of 0 and 1 [permutations, problems]: where the two variants of a pair change places."""
    for size in _blocks(draws, problems):
        yield rng.integers(0, 2, size=(size, problems)).astype(np.float64)


def _permuted(rng: np.random.Generator, draws: int, totals: Floats) -> Iterator[Floats]:
    """Blocks of summed scores [permutations, personas], personas exchanged at random within each problem.

    A persona's runs of one problem move together: they may resemble each other more than those of two personas do
    (low temperature), and personas that differ in which problems they solve, but not in how many, have no effect.
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
    """The 95 % percentile interval [2, ...] along the first axis; undefined draws are left out, nan if none is left."""
    columns = sample.reshape(len(sample), -1).T
    kept = [column[np.isfinite(column)] for column in columns]
    ends = [np.quantile(column, [TAIL, 1 - TAIL]) if len(column) else [np.nan, np.nan] for column in kept]
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
            f"{len(missing)} of {len(values)} scores are missing (first: row {missing[0]}): a failure is no score, so "
            "grade those rows again or leave them out for every persona."
        )
    outside = np.flatnonzero((values < 0) | (values > 1))
    if len(outside):
        row = outside[0]
        raise ValueError(f"The score {values[row]:g} in row {row} is outside [0, 1]: give shares, not percent.")
    return values


def _codes(labels: Sequence[Any], what: str, rows: int) -> tuple[Codes, list[str]]:
    """Row labels as numbers, and the labels as sorted text: so the order of the rows changes nothing."""
    if len(labels) != rows:
        raise ValueError(f"There are {len(labels)} {what} for {rows} scores: give one per score.")
    if any(label is None or label != label for label in labels):
        raise ValueError(f"Some {what} are missing: give a label for every score.")
    texts = [str(label) for label in labels]
    number = {name: i for i, name in enumerate(sorted(set(texts)))}
    if what == "personas" and len(number) < 2:
        raise ValueError(f"All scores belong to the persona {texts[0]!r}: PSS compares at least two personas.")
    return np.fromiter((number[text] for text in texts), np.int64, rows), list(number)


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
