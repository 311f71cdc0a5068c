"""answers.jsonl: one line per completion, whose answer is right or wrong for the gold. Found another case? Add a line.

The rule is in pipelines/guides/answers.md.
"""

import json
from pathlib import Path

import pytest

from permix.verifier import Kind, Problem, Verifier, accuracy_reward, gold_text

LINES = Path(__file__).with_name("answers.jsonl").read_text(encoding="utf-8").splitlines()
CASES = [(row["kind"], row["completion"], row["gold"], row["correct"]) for row in map(json.loads, LINES)]


@pytest.fixture(scope="module")
def scores() -> dict[tuple[str, str, str], float | None]:
    with Verifier() as verifier:
        verdicts = verifier.grade_many((text, Problem("", "", gold, kind)) for kind, text, gold, _ in CASES)
    return {case[:3]: verdict.score for case, verdict in zip(CASES, verdicts, strict=True)}


@pytest.mark.parametrize(("kind", "completion", "gold", "correct"), CASES)
def test_an_answer_is_graded_as_a_person_would(
    scores: dict[tuple[str, str, str], float | None], kind: Kind, completion: str, gold: str, correct: bool
) -> None:
    assert scores[kind, completion, gold] == float(correct)


SEPARATORS = [" or ", ", ", " and ", " / ", " to ", " | "]


@pytest.mark.parametrize("separator", SEPARATORS)
@pytest.mark.parametrize("form", ["The answer is {}.", "#### {}", "Answer: {}", "<answer>{}</answer>"])
def test_an_announcement_of_several_answers_gains_nothing(form: str, separator: str) -> None:
    completion = form.format(f"71{separator}72")
    assert accuracy_reward([completion, completion], ["71", "72"]) == [0.0, 0.0]


@pytest.mark.parametrize("separator", [*SEPARATORS, "\n"])
def test_several_boxes_gain_nothing(separator: str) -> None:
    completion = separator.join(["\\boxed{71}", "\\boxed{72}"])
    assert accuracy_reward([completion, completion], ["71", "72"]) == [0.0, 0.0]


@pytest.mark.parametrize("gold", [4, 4.0, "4", " 4 "])
def test_a_gold_of_any_type_is_compared_as_a_number(gold: object) -> None:
    assert accuracy_reward(["#### 4"], [gold]) == [1.0]


def test_no_message_is_no_answer() -> None:
    assert accuracy_reward([[], [{"role": "assistant", "content": None}]], [4, 4]) == [0.0, 0.0]


@pytest.mark.parametrize(("value", "text"), [(1e16, "10000000000000000"), (1e-05, "0.00001"), (2.5, "2.5"), (7, "7")])
def test_a_number_of_a_table_gets_no_exponent(value: float, text: str) -> None:
    assert gold_text(value) == text
