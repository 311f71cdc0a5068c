"""Judges' scores: means and agreement, against numbers worked out by hand."""

import itertools
import random
from typing import Any

import pytest

from permix.results.measures import fidelity
from permix.results.reporting import judged
from tests.support.cases import cases

TASKS = ("persona_consistency", "linguistic_habits")
PEOPLE = ("chef", "pilot", "nurse")


def table(scores: dict[str, dict[tuple[str, str], float | None]], writer: str = "gpt-5-mini") -> list[dict[str, Any]]:
    """One row for each judge, persona and task."""
    models = {"one": "gpt-5-mini-2025", "two": "deepseek-chat"}
    return [
        {"question_id": f"{persona}|{task}|0", "persona": persona, "task": task, "question_writer": writer}
        | {"answer": f"{persona}: {task}", "judge": name, "model": models.get(name, name), "score": score, "raw": [""]}
        | {"status": "no_json" if score is None else "scored", "retries": 2 if score is None else 0}
        for name, by_question in scores.items()
        for (persona, task), score in by_question.items()
    ]


def level(value: float) -> dict[tuple[str, str], float | None]:
    return dict.fromkeys(itertools.product(PEOPLE, TASKS), value)


def test_the_score_is_the_mean_of_both_judges_over_personas_with_a_t_interval() -> None:
    first: dict[tuple[str, str], float | None] = {(persona, t): n for n, persona in enumerate(PEOPLE, 2) for t in TASKS}
    numbers = fidelity.of_scores(table({"one": first, "two": level(4.0)}), ())
    assert (numbers["questions"], numbers["personas"], numbers["score"]["scored"]) == (6, 3, 6)
    assert numbers["score"]["mean"] == pytest.approx(3.5)
    half = 4.303 * 0.5 / 3**0.5  # the personas' means are 3, 3.5 and 4
    assert (numbers["score"]["low"], numbers["score"]["high"]) == (pytest.approx(3.5 - half), pytest.approx(3.5 + half))
    assert (numbers["judges"]["one"]["mean"], numbers["judges"]["two"]["mean"]) == (3, 4)
    assert numbers["judges"]["two"]["low"] == numbers["judges"]["two"]["high"] == 4
    assert (numbers["score"]["by_persona"]["chef"]["mean"], list(numbers["score"]["tasks"])) == (3, list(TASKS))


def test_over_seeds_the_interval_stays_on_the_judges_scale() -> None:
    row = dict.fromkeys(("variant", "title", "benchmark", "judges"), "x") | {"mean_low": 1, "mean_high": 5}
    over = judged.over_seeds([row | {"mean": mean} for mean in (4.2, 4.9)])
    assert over["mean"] == pytest.approx(4.55)
    assert (over["mean_low"], over["mean_high"]) == (1, 5)


def test_a_missing_score_is_left_out_and_never_counts_as_zero() -> None:
    first = level(4.0) | {("chef", TASKS[0]): None}
    numbers = fidelity.of_scores(table({"one": first, "two": level(2.0)}), ())
    assert numbers["judges"]["one"]["mean"] == 4
    assert (numbers["judges"]["one"]["missing"], numbers["judges"]["one"]["statuses"]["no_json"]) == (1, 1)
    assert numbers["judges"]["one"]["retries"] == 2
    assert (numbers["score"]["mean"], numbers["score"]["scored"]) == (3, 5)  # not pulled to the judge that did answer


def test_a_judge_that_never_answered_does_not_empty_the_score() -> None:
    numbers = fidelity.of_scores(table({"one": dict.fromkeys(level(1.0), None), "two": level(2.0)}), ())
    assert (numbers["score"]["mean"], numbers["judges"]["one"]["mean"], numbers["agreement"]) == (2, None, {})


def test_judges_of_another_family_than_the_writers_stand_apart() -> None:
    both = {"one": level(5.0), "two": level(2.0)}
    numbers = fidelity.of_scores(table(both), ("gpt-5-mini",))
    assert (numbers["independent"]["judges"], numbers["independent"]["mean"]) == (["two"], 2)
    assert numbers["text_writers"] == ["gpt-5-mini"]
    also = fidelity.of_scores(table(both), ("deepseek-ai/DeepSeek-V3",))
    assert (also["independent"]["judges"], also["independent"]["mean"]) == ([], None)


@pytest.mark.parametrize(("model", "family"), cases(__file__)["families"])
def test_the_family_is_read_off_the_models_name(model: str, family: str) -> None:
    assert fidelity.family(model) == family


def test_a_third_judge_settles_what_two_score_far_apart_by_the_median() -> None:
    """Both agree on all but one: 5 and 1, where the third says 2."""
    apart = ("chef", TASKS[0])
    rows = table({"one": level(4.0) | {apart: 5.0}, "two": level(4.0) | {apart: 1.0}, "third": {apart: 2.0}})
    two = [row for row in rows if row["judge"] != "third"]
    assert (fidelity.disputed(two, 2), fidelity.disputed(two, 5)) == (["chef|persona_consistency|0"], [])
    numbers = fidelity.of_scores(rows, (), "third")
    assert (set(numbers["judges"]), list(numbers["agreement"])) == ({"one", "two"}, ["one, two"])
    assert numbers["score"]["mean"] == pytest.approx((3.5 + 4 + 4) / 3)
    assert (numbers["settled"]["mean"], numbers["settled"]["asked"]) == (pytest.approx((3 + 4 + 4) / 3), 1)
    assert fidelity.of_scores(two, ())["settled"] is None
    silent = fidelity.of_scores([*two, rows[-1] | {"score": None, "status": "no_json"}], (), "third")
    assert (silent["settled"]["mean"], silent["settled"]["missing"]) == (pytest.approx(silent["score"]["mean"]), 1)


def test_a_check_says_how_far_scores_moved_and_how_often_not() -> None:
    rows = table({"one": level(3.0)})
    moved = [(row, 5.0 if row["persona"] == "chef" else 3.0) for row in rows]
    probed = [row | {"check": "said_twice", "score": score} for row, score in moved]
    by_check = fidelity.of_checks([*probed, probed[0] | {"check": "repeated", "score": None}], rows)["one"]
    expected = {"mean": pytest.approx(2 / 3), "low": 0, "high": 0, "questions": 6, "equal": pytest.approx(4 / 6)}
    assert by_check["said_twice"] | {"low": 0, "high": 0} == expected
    assert by_check["repeated"] == {"mean": None, "low": None, "high": None, "questions": 0, "equal": None}


def test_scores_that_follow_the_answers_length_are_seen() -> None:
    rows = [row | {"answer": "x" * n, "score": 1.0 + n} for n, row in enumerate(table({"one": level(1.0)})[:5])]
    assert fidelity.of_scores(rows, ())["judges"]["one"]["length"] == pytest.approx(1)
    assert fidelity.of_scores(table({"one": level(1.0)}), ())["judges"]["one"]["length"] is None


def agreed(first: list[float], second: list[float]) -> dict[str, Any]:
    names = [f"q{n}" for n in range(len(first))]
    where = {name: (PEOPLE[n % 3], TASKS[0]) for n, name in enumerate(names)}
    return fidelity.agreement(dict(zip(names, first, strict=True)), dict(zip(names, second, strict=True)), where)


def test_agreement_of_equal_shifted_and_opposite_judges() -> None:
    scores = [1.0, 2.0, 3.0, 4.0, 5.0, 3.0]
    same = agreed(scores, scores)
    assert (same["kappa"], same["spearman"], same["equal"]) == (1, pytest.approx(1), 1)
    lower = agreed(scores, [max(score - 1, 1.0) for score in scores])
    assert lower["spearman"] == pytest.approx((16.5 / 17) ** 0.5)
    assert 0 < lower["kappa"] < 1
    assert (lower["difference"]["mean"], lower["equal"]) == (pytest.approx(-5 / 6), pytest.approx(1 / 6))
    opposite = agreed(scores, [6 - score for score in scores])
    assert (opposite["kappa"], opposite["spearman"]) == (pytest.approx(-1), pytest.approx(-1))


def test_quadratic_kappa_of_a_worked_example() -> None:
    """Observed squared differences 1, 0, 0, 4; expected over all 16 pairs: 38 / 16."""
    numbers = agreed([1.0, 2.0, 3.0, 3.0], [2.0, 2.0, 3.0, 5.0])
    expected = sum((a - b) ** 2 for a in (1, 2, 3, 3) for b in (2, 2, 3, 5)) / 16
    assert numbers["kappa"] == pytest.approx(1 - (5 / 4) / expected)


def test_agreement_that_is_not_defined_is_none() -> None:
    constant = agreed([3.0] * 4, [3.0] * 4)
    assert (constant["kappa"], constant["spearman"], constant["equal"]) == (None, None, 1)


def test_variants_are_compared_question_by_question_and_tested_over_personas() -> None:
    first = table({"one": level(2.0), "two": level(3.0)})
    second = table({"one": level(3.0), "two": level(3.0) | {("chef", TASKS[0]): None}})
    difference = fidelity.compare(first, second)
    assert (difference["mean"]["questions"], set(difference)) == (6, {"mean", *TASKS})
    assert difference[TASKS[1]]["mean"] == 0.5
    assert difference[TASKS[1]]["p_value"] == 0.25  # 2 of the 8 exchanges of 3 personas
    assert difference[TASKS[0]]["mean"] == pytest.approx((1 + 0.5 + 0.5) / 3)  # chef has the first judge alone
    same = fidelity.compare(first, first)["mean"]
    assert same | {"questions": 6} == {"mean": 0, "low": 0, "high": 0, "p_value": 1, "questions": 6}


def test_the_test_of_two_equal_variants_is_rarely_significant() -> None:
    rng, low = random.Random(0), 0
    for _ in range(200):
        first, second = (
            [
                {"question_id": f"{persona}{n}", "persona": f"{persona}", "score": rng.randint(1, 5)}
                | {"task": TASKS[0], "judge": "one"}
                for persona in range(8)
                for n in range(3)
            ]
            for _ in range(2)
        )
        low += fidelity.compare(first, second)["mean"]["p_value"] <= 0.05
    assert 2 <= low <= 20
