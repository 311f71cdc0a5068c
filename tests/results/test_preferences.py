"""Pairwise preferences: wins, flips and ties, against numbers worked out by hand."""

from typing import Any

import pytest

from permix.results.measures import preferences


def verdicts(*pairs: tuple[float | None, float | None], judge: str = "one") -> list[dict[str, Any]]:
    """Rows of both orders; each pair is what was said of the answer shown first, the first model's and the other's."""
    return [
        {"problem_id": f"p{n}", "persona": "chef", "judge": judge, "order": order, "score": score, "model": "m"}
        | {"status": "no_json" if score is None else "scored", "retries": 0, "raw": [""]}
        | {"first": "a long answer", "second": "short"}
        for n, pair in enumerate(pairs)
        for order, score in zip(("first", "second"), pair, strict=True)
    ]


def test_wins_need_both_orders_and_a_flip_is_a_tie() -> None:
    wins, losses, flips, half, missing = [(1, -1)] * 5, [(-1, 1)] * 2, [(1, 1)] * 2, [(0, -1)], [(None, 1)]
    rates = preferences.of_rows(verdicts(*wins, *losses, *flips, *half, *missing))["one"]
    assert (rates["first_wins"], rates["second_wins"], rates["ties"], rates["flips"]) == (5, 2, 3, 2)
    assert (rates["pairs"], rates["not_judged"], rates["missing"]) == (11, 1, 1)
    assert (rates["first_wr"]["value"], rates["second_wr"]["value"]) == (0.5, 0.2)
    assert rates["first_wr_no_tie"]["value"] == pytest.approx(5 / 7)
    assert rates["net_margin"]["value"] == pytest.approx(0.3)
    assert rates["net_margin"]["low"] < 0.3 < rates["net_margin"]["high"]
    assert rates["first_wr"]["low"] < 0.5 < rates["first_wr"]["high"]
    assert rates["p_value"] == pytest.approx(2 * (29 / 128))  # a sign test of 5 against 2
    assert rates["longer"] == pytest.approx((10 + 2 + 1) / (10 + 4 + 4 + 1 + 1))  # the first model's is the longer one
    assert rates["by_persona"]["chef"]["first_wins"] == 5


def test_a_judge_that_always_takes_what_it_sees_first_gives_ties_alone() -> None:
    rates = preferences.of_rows(verdicts(*[(1, 1)] * 8))["one"]
    assert (rates["ties"], rates["flips"], rates["first_shown"], rates["longer"]) == (8, 8, 1, 0.5)
    assert (rates["first_wr"]["value"], rates["first_wr_no_tie"]["value"], rates["p_value"]) == (0, None, 1)


def test_exchanging_the_models_exchanges_the_numbers() -> None:
    there = verdicts((1, -1), (1, -1), (0, 0), (-1, 1), (1, 1))
    back = [row | {"order": "second" if row["order"] == "first" else "first"} for row in there]
    rates, exchanged = (preferences.of_rows(rows)["one"] for rows in (there, back))
    assert rates["first_wr"]["value"] == exchanged["second_wr"]["value"]
    assert rates["net_margin"]["value"] == -exchanged["net_margin"]["value"]
    assert rates["p_value"] == exchanged["p_value"]


def test_one_problem_has_no_interval() -> None:
    rates = preferences.of_rows(verdicts((1, -1)))["one"]
    assert (rates["net_margin"], rates["p_value"]) == ({"value": 1, "low": None, "high": None}, None)
