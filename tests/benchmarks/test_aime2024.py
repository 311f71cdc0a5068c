"""benchmarks/aime2024.py on a small folder, and on the real data where it is present."""

from pathlib import Path
from typing import Any

import pyarrow as arrow
import pyarrow.parquet as parquet
import pytest

from permix import benchmarks
from permix.benchmarks import aime2024
from permix.errors import BadInput
from permix.verifier import Verifier
from tests.support import golds

ROWS = [
    {"id": 60, "problem": "How many?", "answer": "204", "solution": "", "url": "", "year": "2024"},
    {"id": 67, "problem": "How few?", "answer": "025", "solution": "", "url": "", "year": "2024"},
]


def write(folder: Path, rows: list[dict[str, Any]]) -> Path:
    (folder / "data").mkdir(parents=True, exist_ok=True)
    parquet.write_table(arrow.Table.from_pylist(rows), folder / "data" / "train-00000-of-00001.parquet")
    return folder


def test_problems_carry_the_datasets_ids_and_golds_as_they_are(tmp_path: Path) -> None:
    problems = aime2024.load(write(tmp_path, ROWS))
    assert [(p.id, p.question, p.gold) for p in problems] == [
        ("aime2024/60", "How many?", "204"),
        ("aime2024/67", "How few?", "025"),
    ]
    assert [p.id for p in aime2024.load(tmp_path, limit=1)] == ["aime2024/60"]


def test_by_name_it_is_read_from_its_only_split(tmp_path: Path) -> None:
    source = benchmarks.builtin("aime2024")
    assert (source.repo, source.split) == (f"datasets/{aime2024.DATASET}@{aime2024.REVISION}", "train")
    assert len(benchmarks.load(source, write(tmp_path, ROWS))) == 2


def test_zeros_in_front_change_no_answer(tmp_path: Path) -> None:
    with Verifier() as verifier:
        (_, problem) = aime2024.load(write(tmp_path, ROWS))
        for text, status in (("25", "correct"), ("025", "correct"), ("250", "wrong")):
            assert verifier.grade(f"\\boxed{{{text}}}", problem).status == status


def test_a_missing_split_a_changed_dataset_and_a_broken_gold_are_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="only split is train"):
        aime2024.load(write(tmp_path, ROWS), "test")
    with pytest.raises(BadInput, match="Row 0 of HuggingFaceH4/aime_2024 lacks"):
        aime2024.load(write(tmp_path, [{"id": 1, "problem": "?", "answer": 4}]))
    with pytest.raises(BadInput, match="of problem aime2024/1 is not a number"):
        golds.check(aime2024.load(write(tmp_path, [{"id": 1, "problem": "?", "answer": "\\frac{1}{2"}])))


def test_the_real_dataset_has_30_problems_and_its_golds_verify(shared: Path) -> None:
    folder = shared / "data" / aime2024.DATASET
    problems = aime2024.load(folder)
    golds.check(problems)
    assert len({p.id for p in problems}) == 30
    assert all(0 <= int(p.gold) <= 999 for p in problems)
