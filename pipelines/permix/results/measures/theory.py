"""RLVR as a filter of styles (paper, section 3.3 and Appendix A), and how well a real training fits it.

The optimum of E[reward] - beta KL(pi, pi_ref) reweights every completion by e^(reward / beta). With the reference's
accuracy a on one prompt, that gives Proposition 1:

(i)   a* = a e^(1/beta) / (1 - a + a e^(1/beta)), in other words logit a* = logit a + 1/beta;
(ii)  a* > a for 0 < a < 1;
(iii) worst*/best* >= worst/best, and it tends to 1 as beta tends to 0, where worst > 0.

All three hold for one prompt. Means over a dataset can break (iii): personas with (.5, .5) and (1, 0) on two problems
have PSS 1 before and .5 after. So predictions from problem-wise accuracies and from means differ.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from permix.errors import BadInput
from permix.results.measures.sweeps import Counts, Floats, count
from permix.toy import style

DRAWS = 1000


def accuracy(reference: Any, beta: float) -> Any:
    """Return the optimum's accuracy from the reference's, a number or an array in [0, 1] (Proposition 1 (i))."""
    a = np.asarray(reference, dtype=np.float64)
    wrong = (1 - a) * math.exp(-1 / _positive(beta))  # the e^(1/beta) of the paper overflows below beta = .0014
    optimum = np.divide(a, a + wrong, out=np.zeros_like(a), where=a > 0)
    return float(optimum) if optimum.ndim == 0 else optimum


def pss(references: Sequence[float], beta: float) -> float | None:
    """Return worst* / best* on one prompt from the reference's accuracies; None if all are 0 (Proposition 1 (iii))."""
    return _ratio(accuracy(np.asarray(references), beta))


def posterior(prior: Sequence[float], competence: Sequence[float], beta: float) -> list[float]:
    """Return the optimum's style shares from the reference's shares and its accuracy within each style (Eq. 3)."""
    lost = math.exp(-1 / _positive(beta))
    weight = np.asarray(prior) * (lost + (1 - lost) * np.asarray(competence))  # both sides of Eq. 3 times e^(-1/beta)
    if weight.sum() == 0:
        raise BadInput("No style has a right answer, so the filter has no posterior at this beta: give a larger beta.")
    return [float(share) for share in weight / weight.sum()]


def predict(base: Counts, beta: float) -> dict[str, Any]:
    """Predict the optimum at `beta` from a sweep of the reference.

    `accuracy` {persona: share} and `pss` apply Proposition 1 to every problem. `from_means` is the PSS of the same
    formula applied to the personas' means, as if the benchmark were one prompt.
    """
    expected = accuracy(base.cells, beta).mean(1)
    return {
        "accuracy": dict(zip(base.personas, map(float, expected), strict=True)),
        "pss": _ratio(expected),
        "from_means": pss(base.means.tolist(), beta),
    }


def fit(base: Counts, trained: Counts, draws: int = DRAWS, seed: int = 0) -> dict[str, Any]:
    """Fit Proposition 1 (i) to a trained sweep: one shift of logit accuracy, 1/beta, for all prompts.

    The shift of a persona is the log of the Mantel-Haenszel odds ratio with problems as strata. Unlike logits of cells
    it is consistent with one run per problem. Half a pair is added on either side, because a persona that never loses
    (or never gains) a problem would have an infinite shift. Intervals: bootstrap over the problems of both sweeps.
    `p_value`: probability of shifts as unequal as these if all personas had one shift. `by_difficulty`: the shift on
    problems that the base solves without a persona in less or more than half of the runs. By the proposition all these
    shifts are equal. `beta` is None unless the shift is above 0.
    """
    trained = trained.like(base)
    gain, loss = trained.correct * (base.runs - base.correct), base.correct * (trained.runs - trained.correct)
    everything = np.ones((1, len(base.problems)))
    rng = np.random.default_rng(seed)
    size = len(base.problems)
    weights = rng.multinomial(size, np.full(size, 1 / size), size=draws).astype(np.float64)
    shift, drawn = _shift(gain, loss, everything)[0], _shift(gain, loss, weights)
    common, common_drawn = _shift(gain.sum(0), loss.sum(0), everything)[0], _shift(gain.sum(0), loss.sum(0), weights)
    spread = np.maximum(drawn.std(0, ddof=1), 1e-9)
    unequal = np.square((shift - common) / spread).sum()
    null = np.square((drawn - shift - (common_drawn - common)[:, None]) / spread).sum(1)
    beta = _inverse(common)
    expected = base.means if beta is None else accuracy(base.cells, beta).mean(1)
    low, high = np.quantile(drawn, [0.025, 0.975], axis=0)
    ends = np.quantile(common_drawn, [0.025, 0.975])
    columns = zip(base.personas, shift, low, high, base.means, expected, trained.means, strict=True)
    keys = ("persona", "shift", "low", "high", "base", "predicted", "measured")
    return {
        "shift": float(common),
        "low": float(ends[0]),
        "high": float(ends[1]),
        "beta": beta,
        "beta_low": _inverse(ends[1]),
        "beta_high": _inverse(ends[0]),
        "p_value": float((1 + np.sum(null >= unequal - 1e-12)) / (1 + draws)),
        "by_difficulty": _by_difficulty(base, gain, loss, weights),
        "pss_base": _ratio(base.means),
        "pss_predicted": _ratio(expected),
        "pss_measured": _ratio(trained.means),
        "misfit": float(np.abs(expected - trained.means).max()),
        "personas": [{k: v if isinstance(v, str) else float(v) for k, v in zip(keys, c, strict=True)} for c in columns],
    }


def examine(
    base: Mapping[str, Sequence[Any]], trained: Mapping[str, Sequence[Any]] | None, beta: float | None, *, toy: bool
) -> dict[str, Any]:
    """Return the prediction at `beta`, the fit to the trained sweep and (toy world) styles; None omits a part."""
    counts = count(base)
    parts: dict[str, Any] = {} if beta is None else {"prediction": {"beta": beta, **predict(counts, beta)}}
    if trained is None:
        return parts
    parts["fit"] = fit(counts, count(trained))
    used = beta or parts["fit"]["beta"]
    if toy and used:
        parts["styles"] = {"beta": used, "personas": styles(base, trained, used)}
    return parts


def styles(base: Mapping[str, Sequence[Any]], trained: Mapping[str, Sequence[Any]], beta: float) -> dict[str, Any]:
    """Apply Eq. 3 to the toy world, where the style of an answer is its method and can be read from the text.

    Per persona: shares of the methods in the base's answers, in the trained model's, and predicted by Eq. 3 from the
    base's shares and accuracies. `distance` is the total variation between predicted and measured, `moved` between base
    and measured. Shares are pooled over problems, while Eq. 3 is about one problem.
    """
    names = (*style.METHODS, "other")
    before, after = _methods(base, names), _methods(trained, names)
    by_persona: dict[str, Any] = {}
    for key, (share, right) in before.items():
        predicted, measured = posterior(share, right, beta), after[key][0]
        shares = {"base": share, "predicted": predicted, "measured": measured}
        by_persona[key] = {kind: dict(zip(names, row, strict=True)) for kind, row in shares.items()}
        by_persona[key] |= {"distance": _apart(predicted, measured), "moved": _apart(share, measured)}
    return by_persona


def _methods(rows: Mapping[str, Sequence[Any]], names: Sequence[str]) -> dict[str, tuple[list[float], list[float]]]:
    """Return {persona: (share of each method, accuracy within each)}."""
    counted: dict[str, dict[str, list[float]]] = {}
    for key, completion, score in zip(rows["persona"], rows["completion"], rows["score"], strict=True):
        counted.setdefault(key, {}).setdefault(style.method(completion), []).append(score)
    methods = {}
    for key, by_method in counted.items():
        total = sum(map(len, by_method.values()))
        scores = [by_method.get(name, []) for name in names]
        methods[key] = [len(s) / total for s in scores], [sum(s) / len(s) if s else 0.0 for s in scores]
    return methods


def _shift(gain: Floats, loss: Floats, weights: Floats) -> Floats:
    """Return log odds ratios [resamples, personas] (or [resamples] of one row) with weighted problems."""
    return np.asarray(np.log((weights @ gain.T + 0.5) / (weights @ loss.T + 0.5)))


def _by_difficulty(base: Counts, gain: Floats, loss: Floats, weights: Floats) -> dict[str, dict[str, float]]:
    shifts = {}
    for name, chosen in (("hard", base.plain < 0.5), ("easy", base.plain >= 0.5)):
        if chosen.any():
            gained, lost = gain[:, chosen].sum(0), loss[:, chosen].sum(0)
            low, high = np.quantile(_shift(gained, lost, weights[:, chosen]), [0.025, 0.975])
            value = float(_shift(gained, lost, np.ones((1, int(chosen.sum()))))[0])
            shifts[name] = {"problems": int(chosen.sum()), "shift": value, "low": float(low), "high": float(high)}
    return shifts


def _ratio(means: Floats) -> float | None:
    return float(means.min() / means.max()) if means.max() > 0 else None


def _inverse(shift: float) -> float | None:
    """Return the beta of a shift; None unless the shift is above 0."""
    return 1 / float(shift) if shift > 0 else None


def _apart(first: Sequence[float], second: Sequence[float]) -> float:
    return sum(abs(a - b) for a, b in zip(first, second, strict=True)) / 2


def _positive(beta: float) -> float:
    if not beta > 0:
        raise BadInput(f"beta is {beta:g}: Proposition 1 needs a KL term, so a beta above 0.")
    return beta
