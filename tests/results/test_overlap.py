"""8-gram overlap of training sets with benchmarks."""

import pyarrow.parquet as parquet

from permix.results.measures.overlap import overlap

TEXT = "Ann has nine red apples and eats three of them before lunch."


def test_eight_words_in_a_row_are_found_whatever_case_and_punctuation() -> None:
    copy = "So: ANN HAS nine, red apples and eats -- three pears"
    counts = overlap([copy, "Nothing here."], ["Bob has one.", TEXT])
    assert counts == {"n": 8, "train": 2, "test": 2, "found": 1, "share": 0.5, "positions": [1]}


def test_seven_words_in_a_row_are_not() -> None:
    assert overlap(["Ann has nine red apples and eats two"], [TEXT])["found"] == 0
    assert overlap(["Ann has nine red apples and eats two"], [TEXT], n=7)["found"] == 1


def test_a_short_text_counts_where_all_of_it_stands_in_a_row() -> None:
    assert overlap(["Now then: what is 2 + 2, please?"], ["What is 2+2?", "What is 3+3?"])["positions"] == [0]


def test_nothing_is_no_overlap() -> None:
    assert overlap([], [TEXT])["found"] == overlap([TEXT], ["", "?!"])["found"] == 0
    assert overlap([TEXT], [])["share"] is None


def test_gsm8ks_own_splits_overlap_little(shared: object) -> None:
    folder = f"{shared}/data/openai/gsm8k/main"
    train, test = (
        [row["question"] for row in parquet.read_table(f"{folder}/{split}-00000-of-00001.parquet").to_pylist()]
        for split in ("train", "test")
    )
    counts = overlap(train, test)
    assert counts["test"] == 1319
    assert 0 < counts["share"] < 0.2
