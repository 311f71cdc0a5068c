"""The statistics of spaces/pss/pss_core.py, through permix.results.measures.pss."""

import math
import warnings
from typing import Any

import numpy as np
import pytest

from permix import paper
from permix.errors import BadInput
from permix.results.measures import pss
from tests.support.cases import cases

CASES = cases(__file__)

TABLES = paper.printed("tables_8_9")
MODELS = [(name, i, model) for name, table in TABLES.items() for i, model in enumerate(table["models"])]


def sweep(truth: list[float], problems: int = 200, runs: int = 3, seed: int = 0) -> dict[str, Any]:
    """Scores of personas with the given accuracies on problems of unequal difficulty."""
    rng = np.random.default_rng(seed)
    easy = rng.normal(0, 1, (1, problems, 1))
    logit = np.log(np.array(truth) / (1 - np.array(truth)))[:, None, None]
    scores = rng.random((len(truth), problems, runs)) < 1 / (1 + np.exp(-(logit + easy)))
    persona, problem, run = (axis.ravel().tolist() for axis in np.indices(scores.shape))
    return {
        "scores": scores.ravel().astype(float).tolist(),
        "personas": [f"p{p:02}" for p in persona],
        "problems": problem,
        "runs": run,
    }


@pytest.mark.parametrize(("table", "column", "model"), MODELS, ids=[f"{t}-{m}" for t, _, m in MODELS])
def test_every_pss_of_tables_8_and_9_comes_out_to_4_decimals(table: str, column: int, model: str) -> None:
    rows = TABLES[table]["accuracy_percent"]
    result = pss.compute([row[column] / 100 for row in rows.values()], list(rows))
    printed = TABLES[table]["pss"]
    printed = printed[model] if isinstance(printed, dict) else printed[column]
    assert f"{result['pss']:.4f}" == f"{printed:.4f}"
    assert result["floor"] == (printed == 0)


def test_worst_best_and_the_rest_are_what_one_computes_by_hand() -> None:
    result = pss.compute([1, 0, 1, 1, 0, 0, 0.5, 0.5], ["a", "a", "b", "b", "c", "c", "d", "d"])
    assert result["accuracy"] == {"a": 0.5, "b": 1.0, "c": 0.0, "d": 0.5}
    assert (result["pss"], result["worst_persona"], result["best_persona"], result["gap"]) == (0.0, "c", "b", 1.0)
    assert (result["mean"], result["worst_quarter"]) == (0.5, 0.0)
    assert result["floor"]
    assert result["std_personas"] == pytest.approx(np.std([0.5, 1, 0, 0.5], ddof=1))


def test_the_worst_quarter_of_sixteen_personas_is_the_mean_of_four() -> None:
    accuracies = [i / 16 for i in range(1, 17)]
    assert pss.compute(accuracies, list(range(16)))["worst_quarter"] == pytest.approx(sum(accuracies[:4]) / 4)


def test_the_mean_of_per_run_ratios_is_the_papers_other_reading() -> None:
    result = pss.compute([1, 0.5, 0.4, 0.8], ["a", "a", "b", "b"], runs=[1, 2, 1, 2])
    assert result["mean_of_run_pss"] == pytest.approx((0.4 / 1 + 0.5 / 0.8) / 2)
    assert result["std_runs"] == pytest.approx(np.std([0.7, 0.65], ddof=1))


def test_personas_without_effect_look_unstable_and_are_told_apart_from_a_real_effect() -> None:
    nothing, real = pss.compute(**sweep([0.4] * 16)), pss.compute(**sweep([0.4] * 15 + [0.2]))
    assert nothing["pss"] < 0.95
    assert nothing["p_value"] > 0.05
    assert nothing["pss_null_low"] <= nothing["pss"] <= nothing["pss_null_high"]
    assert real["p_value"] < 0.01
    assert real["pss"] < real["pss_null_low"]


def test_the_corrected_pss_is_1_without_effect_and_the_plain_one_where_noise_is_small() -> None:
    nothing, large = pss.compute(**sweep([0.4] * 16)), pss.compute(**sweep([0.3, 0.6], problems=3000))
    assert nothing["pss_corrected"] > 0.97
    assert nothing["pss_corrected_high"] == pytest.approx(1)
    assert large["pss_corrected"] == pytest.approx(large["pss"], abs=0.01)


def test_the_interval_of_the_corrected_pss_holds_the_true_one() -> None:
    held = 0
    for seed in range(40):
        truth = np.clip(np.random.default_rng(seed).normal(0.5, 0.05, 16), 0.3, 0.7).tolist()
        many = pss.compute(**sweep(truth, problems=4000, runs=1, seed=seed), draws=2)["pss_corrected"]
        few = pss.compute(**sweep(truth, problems=150, runs=3, seed=1000 + seed), draws=200)
        held += few["pss_corrected_low"] <= many <= few["pss_corrected_high"]
    assert held >= 33


def test_intervals_hold_the_measured_value_and_shrink_with_more_problems() -> None:
    few, many = (pss.compute(**sweep([0.5, 0.45, 0.4, 0.3], problems=n)) for n in (50, 800))
    for result in (few, many):
        for key in ("pss", "worst", "best", "mean"):
            assert result[f"{key}_low"] <= result[key] <= result[f"{key}_high"], key
    assert many["pss_high"] - many["pss_low"] < few["pss_high"] - few["pss_low"]


def test_problems_are_resampled_whole_so_more_runs_of_them_do_not_narrow_the_mean() -> None:
    once = sweep([0.5, 0.5], problems=100, runs=1)
    tenfold: dict[str, Any] = {
        key: [x for x in value for _ in range(10)] for key, value in once.items() if key != "runs"
    }
    repeated_once, repeated_ten_times = pss.compute(**once), pss.compute(**tenfold)
    assert repeated_ten_times["mean_high"] - repeated_ten_times["mean_low"] == pytest.approx(
        repeated_once["mean_high"] - repeated_once["mean_low"]
    )
    assert repeated_ten_times["p_value"] == repeated_once["p_value"]


def test_the_order_of_the_rows_changes_nothing_and_the_seed_decides_the_rest() -> None:
    data = sweep([0.6, 0.5, 0.4], problems=60)
    order = np.random.default_rng(1).permutation(len(data["scores"]))
    shuffled: dict[str, Any] = {key: [value[i] for i in order] for key, value in data.items()}
    assert pss.compute(**data) == pss.compute(**shuffled)
    assert pss.compute(**data)["pss_low"] != pss.compute(**data, seed=1)["pss_low"]


def test_floor_is_told_where_the_worst_accuracy_may_be_0() -> None:
    hard = pss.compute(**sweep([0.02] * 16, problems=30))
    assert hard["floor"]
    assert hard["worst_low"] == 0
    assert not pss.compute(**sweep([0.5] * 16))["floor"]


def test_all_scores_0_leave_pss_undefined() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = pss.compute([0] * 8, ["a", "b"] * 4, [1, 1, 2, 2] * 2, [0] * 4 + [1] * 4)
    assert math.isnan(result["pss"])
    assert math.isnan(result["p_value"])
    assert math.isnan(result["mean_of_run_pss"])
    assert result["floor"]
    assert result["worst"] == result["best"] == 0


def test_a_single_problem_and_a_single_run_leave_the_spread_undefined() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = pss.compute([0.5, 1.0], ["a", "b"], [1, 1], [1, 1])
    assert result["pss"] == result["mean_of_run_pss"] == 0.5
    assert all(math.isnan(result[key]) for key in ("p_value", "pss_low", "pss_corrected", "pss_null", "std_runs"))


def test_without_problems_unequal_counts_are_each_personas_own_mean() -> None:
    assert pss.compute([1, 0, 1, 1], ["a", "b", "b", "b"])["accuracy"] == {"a": 1.0, "b": pytest.approx(2 / 3)}


@pytest.mark.parametrize(("given", "sentence"), CASES["bad input"])
def test_bad_input_is_refused_with_one_sentence(given: dict[str, Any], sentence: str) -> None:
    with pytest.raises(BadInput, match=sentence):
        pss.compute(**given)


def test_a_pair_of_equal_variants_differs_by_0_and_a_better_one_is_seen() -> None:
    data = sweep([0.6, 0.5, 0.4, 0.3])
    better = [max(a, b) for a, b in zip(data["scores"], sweep([0.5] * 4, seed=9)["scores"], strict=True)]
    same = pss.paired(data["scores"], data["scores"], data["personas"], data["problems"])
    moved = pss.paired(data["scores"], better, data["personas"], data["problems"])
    assert same["pss"] == same["pss_low"] == same["pss_high"] == 0
    assert same["mean_p_value"] == 1
    assert moved["worst_low"] > 0
    assert moved["worst_p_value"] < 0.01
    assert moved["pss"] > 0
    first, second = (pss.compute(s, data["personas"]) for s in (data["scores"], better))
    assert moved["worst"] == pytest.approx(second["worst"] - first["worst"])


def test_a_pair_of_equally_good_variants_is_rarely_called_different() -> None:
    calls = 0
    for seed in range(40):
        first, second = sweep([0.5] * 8, problems=60, seed=seed), sweep([0.5] * 8, problems=60, seed=seed)
        flip = np.random.default_rng(seed).permutation(60)  # the same problems in another order: an equal variant
        second["problems"] = [int(flip[p]) for p in second["problems"]]
        order = np.lexsort((second["runs"], second["problems"], second["personas"]))
        scores = [second["scores"][i] for i in order]
        calls += (
            pss.paired(first["scores"], scores, first["personas"], first["problems"], draws=200)["pss_p_value"] < 0.05
        )
    assert calls <= 6


def test_a_pair_of_unequal_length_is_refused() -> None:
    with pytest.raises(BadInput, match="one pair per row"):
        pss.paired([1, 0], [1], ["a", "b"], [1, 1])


def test_the_interval_of_an_accuracy_counts_answers_to_one_problem_for_less() -> None:
    rng = np.random.default_rng(0)
    alike = np.repeat(rng.random(50) < 0.4, 10).astype(float).tolist()  # ten runs that always agree
    apart = (rng.random(500) < np.mean(alike)).astype(float).tolist()
    problems = np.repeat(np.arange(50), 10).tolist()
    shares = pss.shares([*alike, *apart], ["alike"] * 500 + ["apart"] * 500, problems * 2)
    width = {name: numbers["high"] - numbers["low"] for name, numbers in shares.items()}
    assert width["alike"] == pytest.approx(2 * 1.96 * math.sqrt(0.24 / 50), rel=0.1)
    assert width["apart"] == pytest.approx(2 * 1.96 * math.sqrt(0.24 / 500), rel=0.1)


def test_the_interval_of_an_accuracy_holds_the_true_one_also_near_0() -> None:
    held, sets = 0, 300
    for seed in range(sets):
        rng = np.random.default_rng(seed)
        chance = rng.beta(0.3, 2.7, 40)  # mean .1
        scores = (rng.random((5, 40)) < chance).astype(float).ravel().tolist()
        numbers = pss.shares(scores, ["x"] * 200, list(range(40)) * 5)["x"]
        held += numbers["low"] <= 0.1 <= numbers["high"]
    assert 0.90 <= held / sets <= 0.99


def test_an_accuracy_of_0_or_1_has_an_interval_and_one_of_a_single_problem_none() -> None:
    shares = pss.shares([0] * 30 + [1] * 30, ["none"] * 30 + ["all"] * 30, list(range(30)) * 2)
    assert shares["none"] == {"accuracy": 0.0, "low": 0.0, "high": pytest.approx(0.1135, abs=1e-3)}
    assert (shares["all"]["low"], shares["all"]["high"]) == (pytest.approx(0.8865, abs=1e-3), 1.0)
    assert math.isnan(pss.shares([0, 1], ["a", "a"], [1, 1])["a"]["low"])


def test_the_metric_gives_the_interval_of_each_persona_too() -> None:
    data = sweep([0.6, 0.4])
    statistics = pss.compute(**data)
    groups = pss.shares(data["scores"], data["personas"], data["problems"])
    assert statistics["accuracy_low"] == {name: numbers["low"] for name, numbers in groups.items()}
    assert statistics["accuracy_high"] == {name: numbers["high"] for name, numbers in groups.items()}


def test_pass_at_k_is_the_share_of_draws_with_a_right_answer() -> None:
    scores, problems = [1, 0, 0, 0, 0, 0, 1, 1], [1, 1, 1, 1, 2, 2, 2, 2]
    for k, by_hand in ((1, (1 / 4 + 2 / 4) / 2), (2, (3 / 6 + 5 / 6) / 2), (3, (3 / 4 + 1) / 2), (4, 1.0)):
        assert pss.pass_at(scores, ["a"] * 8, problems, k)["a"] == pytest.approx(by_hand)
    with pytest.raises(BadInput, match=r"pass@5 needs 5 answers .* one has 4"):
        pss.pass_at(scores, ["a"] * 8, problems, 5)


def test_a_partial_score_is_no_right_answer() -> None:
    assert pss.pass_at([0.5, 1.0], ["a", "a"], [1, 2], 1) == {"a": 0.5}
    assert pss.majority([0.5, 1.0], ["a", "a"], [1, 2], ["x", "y"]) == {"a": 0.5}


@pytest.mark.parametrize(("answers", "right", "share"), CASES["majorities"])
def test_the_majority_is_the_answer_given_most_often(answers: list[str | None], right: str, share: float) -> None:
    scores = [float(answer is not None and answer in right.split()) for answer in answers]
    assert pss.majority(scores, ["a"] * len(answers), [1] * len(answers), answers)["a"] == pytest.approx(share)


def test_the_difference_under_one_prompt_has_an_interval_and_a_p_value() -> None:
    rng = np.random.default_rng(3)
    first, gain = (rng.random(400) < 0.5).astype(float), rng.random(400) < 0.2
    second, problems = np.maximum(first, gain), np.repeat(np.arange(200), 2).tolist()
    difference = pss.difference(first.tolist(), second.tolist(), problems)
    assert difference["mean"] == pytest.approx((second - first).mean())
    assert difference["mean_p_value"] < 0.01
    assert 0 < difference["mean_low"] < difference["mean"] < difference["mean_high"]
    assert pss.difference(first.tolist(), first.tolist(), problems)["mean_p_value"] == 1
    assert math.isnan(pss.difference([1.0], [0.0], [1])["mean_low"])
    with pytest.raises(BadInput, match="one pair per row"):
        pss.difference([1, 0], [1], [1, 1])


def test_many_comparisons_are_corrected_by_holm() -> None:
    assert (pss.holm([0.01, 0.04, 0.03]), pss.holm([0.5, 0.9])) == (pytest.approx([0.03, 0.06, 0.06]), [1.0, 1.0])
    assert pss.holm([]) == []
    corrected = pss.holm([0.02, math.nan])
    assert corrected[0] == 0.02
    assert math.isnan(corrected[1])
