"""benchmarks/gsm8k.py on a small folder, and on the real data where it is present."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

from permix.benchmarks import gsm8k
from permix.errors import BadInput
from tests.support import golds

ROWS = [
    {"question": "5 and 7?", "answer": "5 + 7 = <<5+7=12>>12\n#### 12"},
    {"question": "Cents?", "answer": "It costs $1,200 #### no\n#### 1,200"},
    {"question": "Debt?", "answer": "#### -3"},
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "main").mkdir()
    for split, rows in (("test", ROWS), ("train", ROWS[:1])):
        parquet.write_table(pa.Table.from_pylist(rows), tmp_path / "main" / f"{split}-00000-of-00001.parquet")
    return tmp_path


def test_gold_is_the_number_after_the_last_mark_without_separators(folder: Path) -> None:
    assert [p.gold for p in gsm8k.load(folder)] == ["12", "1200", "-3"]


def test_the_rationale_is_the_reasoning_without_calculator_marks_and_ends_in_the_boxed_answer(folder: Path) -> None:
    first, second, third = gsm8k.load(folder)
    assert first.rationale == "5 + 7 = 12\nThe answer is \\boxed{12}."
    assert second.rationale == "It costs $1,200 #### no\nThe answer is \\boxed{1200}."
    assert third.rationale == "The answer is \\boxed{-3}."


def test_ids_name_split_and_row_and_do_not_depend_on_the_limit(folder: Path) -> None:
    assert [p.id for p in gsm8k.load(folder, "test", 2)] == ["gsm8k/test/0", "gsm8k/test/1"]
    assert [p.id for p in gsm8k.load(folder, "train", 0)] == ["gsm8k/train/0"]


def test_the_check_accepts_good_golds_and_refuses_a_broken_one(folder: Path) -> None:
    golds.check(gsm8k.load(folder))
    rows = [*ROWS, {"question": "?", "answer": "#### "}]
    parquet.write_table(pa.Table.from_pylist(rows), folder / "main" / "test-00000-of-00001.parquet")
    with pytest.raises(BadInput, match="gsm8k/test/3"):
        golds.check(gsm8k.load(folder))


def test_a_missing_split_and_a_changed_dataset_are_named(folder: Path) -> None:
    with pytest.raises(BadInput, match="main/dev-"):
        gsm8k.load(folder, "dev")
    with pytest.raises(BadInput, match="openai/gsm8k"):
        gsm8k.load(None)
    parquet.write_table(pa.Table.from_pylist([{"q": "a"}]), folder / "main" / "test-00000-of-00001.parquet")
    with pytest.raises(BadInput, match="pin a revision"):
        gsm8k.load(folder)


def test_the_real_dataset_has_its_known_size_and_its_golds_verify(shared: Path) -> None:
    folder = shared / "data" / gsm8k.DATASET
    test, train = gsm8k.load(folder), gsm8k.load(folder, "train")
    golds.check([*test, *train])
    assert (len(test), len(train)) == (1319, 7473)
    assert test[0].gold == "18"
