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
    found = preferences.of_rows(verdicts(*wins, *losses, *flips, *half, *missing))["one"]
    assert (found["first_wins"], found["second_wins"], found["ties"], found["flips"]) == (5, 2, 3, 2)
    assert (found["pairs"], found["not_judged"], found["missing"]) == (11, 1, 1)
    assert found["first_wr"]["value"] == 0.5 and found["second_wr"]["value"] == 0.2
    assert found["first_wr_no_tie"]["value"] == pytest.approx(5 / 7) and found["net_margin"]["value"] == pytest.approx(
        0.3
    )
    assert found["net_margin"]["low"] < 0.3 < found["net_margin"]["high"]
    assert found["first_wr"]["low"] < 0.5 < found["first_wr"]["high"]
    assert found["p_value"] == pytest.approx(2 * (29 / 128))  # a sign test of 5 against 2
    assert found["longer"] == pytest.approx((10 + 2 + 1) / (10 + 4 + 4 + 1 + 1))  # the first model's is the longer one
    assert found["by_persona"]["chef"]["first_wins"] == 5


def test_a_judge_that_always_takes_what_it_sees_first_gives_ties_alone() -> None:
    found = preferences.of_rows(verdicts(*[(1, 1)] * 8))["one"]
    assert (found["ties"], found["flips"], found["first_shown"], found["longer"]) == (8, 8, 1, 0.5)
    assert found["first_wr"]["value"] == 0 and found["first_wr_no_tie"]["value"] is None and found["p_value"] == 1


def test_exchanging_the_models_exchanges_the_numbers() -> None:
    there = verdicts((1, -1), (1, -1), (0, 0), (-1, 1), (1, 1))
    back = [row | {"order": "second" if row["order"] == "first" else "first"} for row in there]
    one, two = (preferences.of_rows(rows)["one"] for rows in (there, back))
    assert one["first_wr"]["value"] == two["second_wr"]["value"]
    assert one["net_margin"]["value"] == -two["net_margin"]["value"]
    assert one["p_value"] == two["p_value"]


def test_one_problem_has_no_interval() -> None:
    found = preferences.of_rows(verdicts((1, -1)))["one"]
    assert found["net_margin"] == {"value": 1, "low": None, "high": None} and found["p_value"] is None
