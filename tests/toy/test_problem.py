"""Problems of the toy world: right, readable back, and in disjoint parts."""

import itertools
import random

import pytest

from permix.errors import BadInput
from permix.toy import problem


def first(part: problem.Part, count: int, seed: int = 0) -> list[problem.Problem]:
    return list(itertools.islice(problem.problems(part, seed), count))


@pytest.mark.parametrize(("part", "lengths"), [("train", {1, 2, 3}), ("test", {1, 2, 3}), ("long", {4, 5})])
def test_gold_is_the_value_that_the_text_leads_to(part: problem.Part, lengths: set[int]) -> None:
    step_counts = set()
    for row in first(part, 300):
        chain = problem.read(row.question)
        sum_in_python = str(chain.start) + "".join(f" {op} {n}" for op, n in chain.steps)
        assert row.gold == str(eval(sum_in_python))
        assert all(0 <= value <= problem.LARGEST for value in chain.values)
        step_counts.add(len(chain.steps))
    assert step_counts == lengths


def test_reading_a_question_gives_the_chain_it_was_written_from() -> None:
    rng = random.Random(1)
    for _ in range(500):
        question, chain = problem.draw(rng, {1: 1, 3: 1, 5: 1})
        assert problem.read(question) == chain


@pytest.mark.parametrize(
    "text", ["", "Mia has many apples.", "Mia has 3 apples. She eats 2. How many apples are left?"]
)
def test_any_other_question_is_refused(text: str) -> None:
    with pytest.raises(BadInput, match="not a problem of the toy world"):
        problem.read(text)


def test_parts_share_no_question() -> None:
    train, test = ({p.question for p in first(part, 500)} for part in ("train", "test"))
    rng = random.Random(0)
    read = {problem.draw_from("pretraining", rng, problem.LENGTHS)[0] for _ in range(2000)}
    assert len(train) == len(test) == 500
    assert not train & test
    assert not train & read
    assert not test & read


def test_the_same_seed_gives_the_same_problems_and_another_others() -> None:
    assert first("train", 20) == first("train", 20)
    assert first("train", 20) != first("train", 20, seed=1)
