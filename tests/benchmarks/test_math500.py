"""benchmarks/math500.py on a small folder, and on the real data where it is present."""

import json
from pathlib import Path

import pytest

from permix.benchmarks import math500
from permix.errors import BadInput
from permix.verifier import Verifier
from tests.support import golds

ROWS = [
    {"problem": "Point?", "answer": r"\left( 3, \frac{\pi}{2} \right)", "unique_id": "test/precalculus/807.json"},
    {"problem": "Who\u2028?", "answer": r"\text{Evelyn}", "unique_id": "test/algebra/1.json"},
]


def write(folder: Path, rows: list[dict[str, str]]) -> Path:
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (folder / "test.jsonl").write_text(text, encoding="utf-8")
    return folder


def test_problems_carry_maths_own_ids_and_golds_as_they_are(tmp_path: Path) -> None:
    problems = math500.load(write(tmp_path, ROWS))
    assert [(p.id, p.question, p.gold) for p in problems] == [
        (row["unique_id"], row["problem"], row["answer"]) for row in ROWS
    ]
    assert [p.id for p in math500.load(tmp_path, limit=1)] == ["test/precalculus/807.json"]


def test_the_check_accepts_good_golds_and_refuses_a_broken_one(tmp_path: Path) -> None:
    golds.check(math500.load(write(tmp_path, ROWS)))
    with pytest.raises(BadInput, match=r"test/x\.json"):
        broken = {"problem": "?", "answer": r"\frac{1}{2", "unique_id": "test/x.json"}
        golds.check(math500.load(write(tmp_path, [*ROWS, broken])))


def test_a_missing_split_and_a_changed_dataset_are_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="only split is test"):
        math500.load(write(tmp_path, ROWS), "train")
    with pytest.raises(BadInput, match="Row 1"):
        math500.load(write(tmp_path, [{"problem": "?", "answer": "1"}]))


def test_the_real_dataset_has_500_problems_and_its_golds_and_solutions_verify(shared: Path) -> None:
    folder = shared / "data" / math500.DATASET
    problems = math500.load(folder)
    golds.check(problems)
    assert len({p.id for p in problems}) == 500
    rows = [json.loads(line) for line in (folder / "test.jsonl").read_bytes().splitlines()]
    with Verifier() as verifier:
        verdicts = verifier.grade_many((row["solution"], p) for row, p in zip(rows, problems, strict=True))
    assert [v.status for v in verdicts] == ["correct"] * 500
