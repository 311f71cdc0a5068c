"""Persona selectors from a sweep's rows, on tables whose numbers one can count."""

from typing import Any

import pytest

from permix.results.measures import selectors

Row = dict[str, Any]


def table(answers: dict[str, list[str]], gold: str = "7") -> list[Row]:
    """Rows of {persona: answers}; an answer string has one letter for each run of a problem."""
    return [
        {"persona": key, "problem_id": f"p{q}", "run": run, "extracted": answer, "score": float(answer == gold)}
        | {"tokens_out": 10 if key == "none" else 20}
        for key, texts in answers.items()
        for q, text in enumerate(texts)
        for run, answer in enumerate(text)
    ]


def lines(rows: list[Row]) -> dict[str, Row]:
    return {line["selector"]: line for line in selectors.of_rows(rows)}


def test_selectors_are_what_one_counts() -> None:
    by_selector = lines(
        table({"none": ["7", "7", "1", "1"], "a": ["7", "7", "7", "1"], "b": ["7", "2", "2", "2"], "c": ["1"] * 4})
    )
    accuracy = {name: line["accuracy"] for name, line in by_selector.items()}
    assert accuracy == {
        "none": 0.5,
        "random": pytest.approx(4 / 12),
        "chosen": 0.75,
        "majority of 3 personas": pytest.approx((1 + 1 / 3 + 1 / 3 + 0) / 4),
        "best of 2 personas": pytest.approx((1 + 2 / 3 + 2 / 3 + 0) / 4),
        "best of 3 personas": 0.75,
    }


def test_completions_and_tokens_stand_beside_accuracy() -> None:
    by_selector = lines(table({"none": ["77", "17"], "a": ["77", "17"], "b": ["11", "17"]}))
    cost = {name: (line["completions"], line["tokens"]) for name, line in by_selector.items()}
    assert cost["none"] == (1, 10)
    assert cost["random"] == cost["chosen per problem"] == (1, 20)
    assert (cost["majority of 2 none"], cost["best of 2 personas"]) == ((2, 20), (2, 40))


def test_the_persona_of_a_problem_is_chosen_by_the_other_runs() -> None:
    by_selector = lines(table({"a": ["77", "11"], "b": ["11", "77"]}))
    assert (by_selector["chosen per problem"]["accuracy"], by_selector["random"]["accuracy"]) == (1.0, 0.5)
    lucky = lines(table({"a": ["71", "17"], "b": ["17", "71"]}))  # right in one run each: no persona is better
    assert lucky["chosen per problem"]["accuracy"] == 0.0


def test_the_persona_of_a_half_is_chosen_by_the_other_half() -> None:
    by_selector = lines(table({"a": ["7", "1", "7", "1"], "b": ["1", "7", "1", "7"]}))
    assert (by_selector["chosen"]["accuracy"], by_selector["best of 2 personas"]["accuracy"]) == (0.0, 1.0)


def test_intervals_hold_the_value() -> None:
    rows = table({"none": ["71"] * 9, "a": ["77", "11", "17"] * 3, "b": ["17", "71", "77"] * 3})
    for line in selectors.of_rows(rows):
        assert 0 <= line["low"] <= line["accuracy"] <= line["high"] <= 1, line


def test_what_was_not_recorded_is_none() -> None:
    rows = [row | {"tokens_out": None} for row in table({"a": ["7", "1"], "b": ["1", "7"]})]
    assert {line["tokens"] for line in selectors.of_rows(rows)} == {None}
