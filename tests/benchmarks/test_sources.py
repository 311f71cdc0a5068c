"""A dataset of one's own: any columns, and whatever is wrong with it in one sentence."""

import gzip
import re
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as arrow
import pyarrow.parquet as parquet
import pytest

from permix import benchmarks
from permix.benchmarks import Source
from permix.errors import BadInput
from permix.verifier import Problem
from tests.support.cases import cases
from tests.support.quiz import QUIZ, quiz


def test_columns_become_problems(tmp_path: Path) -> None:
    problems = benchmarks.load(QUIZ, quiz(tmp_path))
    assert problems == [
        Problem("quiz/test/0", "Who?", "Ann", "exact"),
        Problem("quiz/test/1", "How many?", "3", "exact"),
        Problem("quiz/test/2", "Where?", "Here", "exact"),
    ]


@pytest.mark.parametrize(("name", "text", "golds"), cases(__file__)["numbers of columns"])
def test_numbers_of_a_column_stay_as_they_are_written(name: str, text: str, golds: list[str], tmp_path: Path) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    assert [problem.gold for problem in benchmarks.load(QUIZ, tmp_path)] == golds


@pytest.mark.parametrize(
    ("column", "golds"),
    [
        (arrow.array([Decimal("0.10"), Decimal("12345678901234567890.50")]), ["0.10", "12345678901234567890.50"]),
        (arrow.array([0.1, 2.5], arrow.float32()), ["0.1", "2.5"]),
        (arrow.array([1e16, 1e-5]), ["10000000000000000", "0.00001"]),
        (arrow.array([2**63 + 5], arrow.uint64()), ["9223372036854775813"]),
    ],
)
def test_numbers_of_a_parquet_column_get_no_exponent(column: Any, golds: list[str], tmp_path: Path) -> None:
    parquet.write_table(arrow.table({"q": ["?"] * len(column), "a": column}), tmp_path / "test.parquet")
    assert [problem.gold for problem in benchmarks.load(QUIZ, tmp_path)] == golds


def test_a_cell_without_a_text_or_a_number_is_named(tmp_path: Path) -> None:
    (tmp_path / "test.csv").write_text("q,a\nWho?,Ann\nWhere?,\n")
    refused(tmp_path, r"Row 1 of me/quiz has None \(an empty cell\) under 'a': it should be a text or a number")
    (tmp_path / "test.csv").unlink()
    parquet.write_table(arrow.table({"q": ["?"], "a": [float("nan")]}), tmp_path / "test.parquet")
    refused(tmp_path, "Row 0 of me/quiz has nan under 'a'")


def test_packed_json_that_may_have_lost_digits_is_refused(tmp_path: Path) -> None:
    with gzip.open(tmp_path / "test.jsonl.gz", "wt") as file:
        file.write('{"q": "?", "a": 123456789012345678}\n{"q": "?", "a": 0.5}\n')
    refused(tmp_path, "Row 0 of me/quiz has 1.2345678901234568e.17 under 'a', which may have lost digits: write")


def test_a_column_of_rationales(tmp_path: Path) -> None:
    quiz(tmp_path, [{"q": "Who?", "a": "Ann", "why": "She said so: Ann."}])
    (problem,) = benchmarks.load(replace(QUIZ, rationale="why"), tmp_path)
    assert problem.rationale == "She said so: Ann."
    refused(tmp_path, "me/quiz has no column 'wy': did you mean 'why'", rationale="wy")


def test_a_limit_takes_the_first(tmp_path: Path) -> None:
    quiz(tmp_path)
    assert [p.gold for p in benchmarks.load(replace(QUIZ, limit=2), tmp_path)] == ["Ann", "3"]
    assert len(benchmarks.load(replace(QUIZ, limit=9), tmp_path)) == 3


def test_split_and_config_are_chosen(tmp_path: Path) -> None:
    card = "---\nconfigs:\n- config_name: {}\n  data_files:\n  - split: dev\n    path: {}/dev.jsonl\n---\n"
    quiz(tmp_path, split="dev", config="hard")
    (tmp_path / "README.md").write_text(card.format("hard", "hard"))
    assert len(benchmarks.load(replace(QUIZ, config="hard", split="dev"), tmp_path)) == 3


def test_changes_in_the_folder_are_noticed(tmp_path: Path) -> None:
    assert benchmarks.load(QUIZ, quiz(tmp_path))[0].gold == "Ann"
    assert benchmarks.load(QUIZ, quiz(tmp_path, [{"q": "Who?", "a": "Bob"}]))[0].gold == "Bob"


def refused(folder: Path, sentence: str, **settings: Any) -> None:
    with pytest.raises(BadInput, match=sentence) as failure:
        benchmarks.load(replace(QUIZ, **settings), folder)
    text = str(failure.value)
    assert "\n" not in text, text
    assert str(folder) not in text, text
    assert text[-1] in ".?", text
    assert len(text) < 500, text


def test_a_wrong_column_names_the_nearest(tmp_path: Path) -> None:
    quiz(tmp_path, [{"question": "Who?", "answer": "Ann"}])
    refused(tmp_path, "me/quiz has no column 'questoin': did you mean 'question'", problem="questoin", answer="answer")
    refused(tmp_path, "me/quiz has no column 'a': known: answer, question", problem="question")


def test_a_split_that_is_not_there_is_named(tmp_path: Path) -> None:
    refused(quiz(tmp_path, split="train"), "The split 'test' of me/quiz cannot be read: .*train")


def test_a_config_that_is_not_there_is_named(tmp_path: Path) -> None:
    refused(
        quiz(tmp_path), "The split 'test' of config 'main' of me/quiz cannot be read: .*main.*default", config="main"
    )


def test_an_empty_split_is_refused(tmp_path: Path) -> None:
    (tmp_path / "test.csv").write_text("q,a\n")
    refused(tmp_path, "The split 'test' of me/quiz cannot be read: .* corresponds to no data")


def test_a_folder_without_data_is_refused(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("# Nothing\n")
    refused(tmp_path, "The split 'test' of me/quiz cannot be read")


def test_a_broken_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "test.parquet").write_bytes(b"PAR1 and no more")
    refused(tmp_path, "The split 'test' of me/quiz cannot be read")


@pytest.mark.parametrize("answer", [None, ["a", "b"], {"text": "a"}, ""])
def test_an_answer_that_is_not_a_text_is_refused_with_its_row(answer: Any, tmp_path: Path) -> None:
    quiz(tmp_path, [{"q": "Who?", "a": answer}])
    refused(tmp_path, "Row 0 of me/quiz has .* under 'a': it should be a text or a number")


def test_a_benchmark_of_ours_by_name() -> None:
    source = benchmarks.builtin("gsm8k")
    assert re.fullmatch("datasets/openai/gsm8k@[0-9a-f]{40}", source.repo)
    assert source.repo in benchmarks.pinned()
    assert (source.split, source.instruction, source.files) == ("test", "boxed", ())
    assert benchmarks.builtin("arithmetic-long").repo == ""
    with pytest.raises(BadInput, match=r"no benchmark 'gsm': did you mean 'gsm8k'\? .*\[benchmark.gsm\] with dataset="):
        benchmarks.builtin("gsm")


@pytest.mark.parametrize(
    ("source", "texts"),
    [
        (benchmarks.builtin("gsm8k"), ("Why?", "3")),
        (benchmarks.builtin("aime2024"), ("", "")),
        (benchmarks.builtin("livecodebench-easy"), ("", "")),
        (Source(name="mine", dataset="me/mine"), ("Why?", "3")),
        (Source(name="mine", dataset="me/mine", republish=False), ("", "")),
    ],
)
def test_sweeps_have_the_texts_that_may_be_published_again(source: Source, texts: tuple[str, str]) -> None:
    assert source.texts(Problem("p", "Why?", "3")) == dict(zip(("question", "gold"), texts, strict=True))
    assert source.texts(Problem("p", "Why?", "[]", "code")) == {"question": texts[0], "gold": ""}
