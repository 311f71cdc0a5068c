"""The toy world's benchmark."""

import pytest

from permix.benchmarks import arithmetic
from permix.errors import BadInput
from permix.toy import style
from tests.support import golds


@pytest.mark.parametrize("split", ["train", "test", "long"])
def test_rows_are_numbered_and_a_limit_takes_the_first(split: str) -> None:
    rows = arithmetic.load(None, split, 0)
    assert [p.id for p in rows] == [f"arithmetic/{split}/{i}" for i in range(arithmetic.SIZES[split])]
    assert arithmetic.load(None, split, 7) == rows[:7]


def test_the_rationale_is_the_gold_wording_half_of_it_step_by_step() -> None:
    rows = arithmetic.load(None, "train", 400)
    assert all(p.rationale == style.gold(p) and p.rationale.endswith(f"\\boxed{{{p.gold}}}.") for p in rows)
    long = [style.method(p.rationale) for p in arithmetic.load(None, "long", 400)]
    assert 150 < long.count("steps") < 250
    assert set(long) == {"steps", "skim"}


def test_no_question_is_in_two_splits_or_twice_in_one() -> None:
    rows = [p.question for split in arithmetic.SIZES for p in arithmetic.load(None, split, 0)]
    assert len(set(rows)) == len(rows)


@pytest.mark.parametrize("split", ["pretraining", "tset"])
def test_an_unknown_split_names_the_nearest(split: str) -> None:
    with pytest.raises(BadInput, match="has no split"):
        arithmetic.load(None, split, 1)


@pytest.mark.parametrize("split", arithmetic.SIZES)
def test_the_verifier_accepts_every_gold(split: str) -> None:
    golds.check(arithmetic.load(None, split, 0))
