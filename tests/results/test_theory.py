"""permix.results.measures.theory: Eq. 3 and Proposition 1, and the fit of a trained sweep to them."""

import json
import math
from typing import Any

import numpy as np
import pytest

from permix.errors import BadInput
from permix.results.measures import theory
from permix.results.measures.sweeps import Counts

BETAS = (10.0, 1.0, 0.5, 0.1, 0.04, 0.001)
PERSONAS = tuple(f"p{i:02}" for i in range(16))


def sweeps(
    shift: float, *, runs: int = 3, problems: int = 120, unequal: float = 0.0, hard: float = 0.0, seed: int = 0
) -> tuple[Counts, Counts]:
    """Base and trained, whose logits differ by `shift` (± `unequal` over personas, + `hard` on hard problems)."""
    rng = np.random.default_rng(seed)
    difficulty = rng.normal(0, 1.8, problems)
    logit = difficulty + rng.normal(0, 0.6, (16, problems)) + np.linspace(-1.5, 1, 16)[:, None]
    moved = logit + shift + unequal * np.linspace(1, -1, 16)[:, None] + hard * (difficulty < 0)
    shares = [1 / (1 + np.exp(-x)) for x in (logit, moved)]
    correct = [rng.binomial(runs, share).astype(float) for share in shares]
    plain = rng.binomial(runs, 1 / (1 + np.exp(-difficulty))) / runs
    names = tuple(map(str, range(problems)))
    base, trained = (Counts(PERSONAS, names, c, runs, plain) for c in correct)
    return base, trained


def reweighted(a: float, beta: float) -> float:
    """The optimum of a policy with four answers, two of them right, reweighted answer by answer."""
    reference, reward = np.array([a / 2, a / 2, (1 - a) / 3, 2 * (1 - a) / 3]), np.array([1, 1, 0, 0])
    policy = reference * np.exp((reward - 1) / beta)
    return float((policy / policy.sum())[:2].sum())


@pytest.mark.parametrize("beta", BETAS)
def test_accuracy_is_that_of_the_reweighted_policy(beta: float) -> None:
    for a in (0.001, 0.2, 0.5, 0.97):
        assert theory.accuracy(a, beta) == pytest.approx(reweighted(a, beta), abs=1e-12)
    assert (theory.accuracy(0.0, beta), theory.accuracy(1.0, beta)) == (0, 1)


@pytest.mark.parametrize("beta", BETAS)
def test_proposition_1_on_random_pairs(beta: float) -> None:
    rng = np.random.default_rng(0)
    low, high = np.sort(rng.uniform(0.001, 0.999, (2, 2000)), axis=0)
    assert (theory.accuracy(low, beta) > low).all()
    ratio = theory.accuracy(low, beta) / theory.accuracy(high, beta)
    assert (ratio >= low / high - 1e-12).all()
    assert theory.pss([low[0], high[0]], beta) == pytest.approx(ratio[0])


def test_the_logit_rises_by_one_over_beta() -> None:
    def logit(a: float) -> float:
        return math.log(a / (1 - a))

    for a in (0.1, 0.5, 0.8):
        assert logit(theory.accuracy(a, 0.5)) == pytest.approx(logit(a) + 2)


def test_pss_tends_to_one_as_beta_tends_to_zero() -> None:
    predictions = [theory.pss([0.286, 0.46], beta) for beta in (10, 1, 0.5, 0.1)]
    assert predictions == pytest.approx([0.633, 0.746, 0.866, 0.9999], abs=5e-4)
    assert (theory.pss([0.0, 0.4], 0.01), theory.pss([0.0, 0.0], 1)) == (0, None)


def test_means_over_a_dataset_can_break_it() -> None:
    """Two personas of equal mean: (.5, .5) and (1, 0) on two problems. PSS falls from 1 to .5, against (iii)."""
    runs = 10_000
    correct = np.array([[0.5, 0.5], [1.0, 0.0]]) * runs
    base = Counts(("a", "b"), ("x", "y"), correct, runs, np.full(2, np.nan))
    prediction = theory.predict(base, 0.1)
    assert base.means.tolist() == [0.5, 0.5]
    assert prediction["from_means"] == 1.0
    assert prediction["pss"] < 0.85  # the added run keeps (1, 0) from staying at (1, 0): half would be .5
    exact = [theory.accuracy(row, 0.1).mean() for row in correct / runs]
    assert min(exact) / max(exact) == pytest.approx(0.5, abs=1e-4)


def test_posterior_is_bayes_and_filters_what_is_never_right() -> None:
    prior, competence = [0.5, 0.3, 0.2], [0.9, 0.3, 0.0]
    for beta in (1.0, 0.04):
        weight = [p * (1 + (math.exp(1 / beta) - 1) * c) for p, c in zip(prior, competence, strict=True)]
        assert theory.posterior(prior, competence, beta) == pytest.approx([w / sum(weight) for w in weight])
    assert theory.posterior(prior, competence, 0.001) == pytest.approx([0.45 / 0.54, 0.09 / 0.54, 0.0])
    with pytest.raises(BadInput, match="No style has a right answer"):
        theory.posterior(prior, [0.0, 0.0, 0.0], 0.001)


def test_a_prediction_without_reweighting_is_the_base() -> None:
    base, _ = sweeps(0)
    prediction = theory.predict(base, 1e9)
    assert list(prediction["accuracy"].values()) == pytest.approx(base.means.tolist())
    assert prediction["pss"] == pytest.approx(base.means.min() / base.means.max()) == prediction["from_means"]


@pytest.mark.parametrize("runs", [1, 3, 5])
def test_the_fit_finds_the_shift_whatever_the_number_of_runs(runs: int) -> None:
    fit = theory.fit(*sweeps(1.5, runs=runs, problems=1500), draws=200)
    assert (fit["shift"], fit["beta"]) == (pytest.approx(1.5, abs=0.08), pytest.approx(1 / fit["shift"]))
    assert fit["beta_low"] < fit["beta"] < fit["beta_high"]


def test_its_interval_covers_the_truth_and_its_p_value_is_honest() -> None:
    fits = [theory.fit(*sweeps(1.5, seed=seed), draws=200) for seed in range(120)]
    assert 0.87 < np.mean([f["low"] <= 1.5 <= f["high"] for f in fits]) <= 1.0
    assert np.mean([f["p_value"] < 0.05 for f in fits]) < 0.12


def test_unequal_personas_are_noticed_and_shown() -> None:
    fit = theory.fit(*sweeps(1.5, unequal=1.2))
    shifts = [row["shift"] for row in fit["personas"]]
    assert fit["p_value"] < 0.01
    assert shifts[0] > 2 > 1 > shifts[-1]
    assert fit["misfit"] > 0.05


def test_hard_problems_that_gain_more_are_noticed() -> None:
    parts = theory.fit(*sweeps(0.5, hard=1.5, problems=400))["by_difficulty"]
    assert parts["hard"]["low"] > parts["easy"]["high"]
    assert parts["hard"]["problems"] + parts["easy"]["problems"] == 400


def test_what_follows_the_proposition_is_predicted() -> None:
    fit = theory.fit(*sweeps(1.0, runs=5, problems=1500), draws=100)
    assert fit["misfit"] < 0.03
    assert fit["pss_predicted"] == pytest.approx(fit["pss_measured"], abs=0.03) != fit["pss_base"]


def test_a_persona_that_never_loses_has_a_finite_shift() -> None:
    base, _ = sweeps(0, problems=20)
    all_right = Counts(PERSONAS, base.problems, np.full((16, 20), 3.0), 3, base.plain)
    fit = theory.fit(base, all_right, draws=50)
    assert math.isfinite(fit["shift"])
    assert json.dumps(fit, allow_nan=False)


def test_a_training_that_made_it_worse_fits_no_beta() -> None:
    base, worse = sweeps(-1.0)
    fit = theory.fit(base, worse, draws=50)
    assert fit["shift"] < 0
    assert (fit["beta"], fit["pss_predicted"]) == (None, fit["pss_base"])
    assert json.dumps(fit, allow_nan=False)


def test_sweeps_in_another_order_are_put_in_order() -> None:
    base, trained = sweeps(1.0)
    turned = Counts(PERSONAS[::-1], base.problems[::-1], trained.correct[::-1, ::-1], 3, trained.plain[::-1])
    assert theory.fit(base, turned, draws=20) == theory.fit(base, trained, draws=20)


def test_sweeps_of_other_problems_are_refused() -> None:
    base, _ = sweeps(0)
    _, other = sweeps(0, problems=121)
    with pytest.raises(BadInput, match="different problems or personas"):
        theory.fit(base, other)


@pytest.mark.parametrize("beta", [0.0, -1.0, math.nan])
def test_a_beta_that_is_not_positive_is_refused(beta: float) -> None:
    with pytest.raises(BadInput, match="needs a KL term"):
        theory.accuracy(0.5, beta)


def test_styles_are_read_off_answers_and_compared() -> None:
    def rows(answers: dict[str, tuple[int, int]]) -> dict[str, list[Any]]:
        """{completion: (how often, how often right)}"""
        every = [(text, float(i < right)) for text, (n, right) in answers.items() for i in range(n)]
        texts, scores = zip(*every, strict=True)
        return {"persona": ["dumb"] * len(texts), "completion": list(texts), "score": list(scores)}

    steps, direct = "5 + 7 = 12. The answer is \\boxed{12}.", "The answer is \\boxed{12}."
    base, trained = rows({steps: (20, 18), direct: (80, 20)}), rows({steps: (100, 90)})
    style_shares = theory.styles(base, trained, 0.04)["dumb"]
    assert (style_shares["base"]["steps"], style_shares["measured"]["steps"]) == (0.2, 1.0)
    assert style_shares["predicted"]["steps"] == pytest.approx(18 / 38, abs=1e-6)
    assert (style_shares["distance"], style_shares["moved"]) == (pytest.approx(20 / 38, abs=1e-6), pytest.approx(0.8))
