"""benchmarks/livecodebench.py on a small folder; on real problems and recorded answers where they are present."""

import base64
import json
import pickle
import zlib
from pathlib import Path
from typing import Any

import pytest

from permix import benchmarks
from permix.benchmarks import livecodebench
from permix.errors import BadInput
from permix.prompting import prompts
from permix.verifier import Problem, Verifier, code
from permix.verifier.code import Case, Suite
from tests.support import golds
from tests.support.cases import cases


def packed(value: Any) -> str:
    return base64.b64encode(zlib.compress(pickle.dumps(value))).decode()


def row(name: str, difficulty: str = "easy", **changed: Any) -> dict[str, Any]:
    public = [{"input": "1\n", "output": "2\n", "testtype": "stdin"}]
    private = [{"input": "2\n", "output": "4\n", "testtype": "stdin"}]
    return {
        "question_content": f"Double it, {name}! {{x}} \u2028", "platform": "atcoder", "question_id": name,
        "starter_code": "", "difficulty": difficulty, "public_test_cases": json.dumps(public),
        "private_test_cases": packed(json.dumps(private)), "metadata": "{}",
    } | changed  # fmt: skip


FUNCTION = row(
    "2777",
    platform="leetcode",
    starter_code="class Solution:\n    def f(self, a: int) -> int:\n        ",
    public_test_cases=json.dumps([{"input": "[1]", "output": "1", "testtype": "functional"}]),
    private_test_cases="[]",
    metadata='{"func_name": "f"}',
)


def dataset(folder: Path, *files: list[dict[str, Any]]) -> Path:
    for name, rows in zip(livecodebench.FILES, files, strict=False):
        text = "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in rows)
        (folder / name).write_text(text, encoding="utf-8")
    return folder


def test_a_split_is_a_release_and_a_difficulty(tmp_path: Path) -> None:
    folder = dataset(tmp_path, [row("a"), row("b", "hard"), FUNCTION], [row("c")])
    ids = {split: [p.id for p in livecodebench.load(folder, split)] for split in ("release_v1-easy", "release_v2-easy")}
    assert ids == {
        "release_v1-easy": ["atcoder/a", "leetcode/2777"],
        "release_v2-easy": ["atcoder/a", "leetcode/2777", "atcoder/c"],
    }
    assert [p.id for p in livecodebench.load(folder, "release_v2-hard")] == ["atcoder/b"]
    assert len(livecodebench.load(folder, "release_v2-easy", limit=2)) == 2


def test_a_problem_that_upstream_marks_as_broken_says_so(tmp_path: Path) -> None:
    rows = [row("abc337_e"), row("3176", platform="leetcode", question_title="find-the-peaks"), row("a")]
    errata = [p.erratum for p in livecodebench.load(dataset(tmp_path, rows))]
    assert errata == ["interactive", "accepts several answers, its tests only one", ""]


def test_a_problem_finds_its_public_and_private_tests(tmp_path: Path) -> None:
    stdin, function = livecodebench.load(dataset(tmp_path, [row("a"), FUNCTION]))
    assert stdin.kind == "code"
    assert stdin.tests
    assert function.tests
    assert stdin.tests.read() == Suite((Case("1\n", "2\n"), Case("2\n", "4\n")))
    assert function.tests.read() == Suite((Case("[1]", "1"),), "f")
    assert len(pickle.dumps(stdin)) < 2000
    with Verifier() as verifier:
        assert verifier.grade("```\nprint(2 * int(input()))\n```", stdin).status == "correct"
        assert verifier.grade("```\nprint(2)\n```", stdin).status == "wrong"
        assert verifier.grade("```\ndef f(a): return a[0]\n```", function).status == "correct"


def test_the_prompt_is_upstreams_with_the_persona_as_system_message(tmp_path: Path) -> None:
    stdin, function = livecodebench.load(dataset(tmp_path, [row("a"), FUNCTION]))
    (chat,) = prompts.messages(stdin.question, None, benchmarks.builtin("livecodebench-easy").instruction)
    assert chat["content"] == (
        "### Question:\nDouble it, a! {x} \u2028\n\n"
        "### Format: Read the inputs from stdin solve the problem and write the answer to stdout (do not directly test "
        "on the sample inputs). Enclose your code within delimiters as follows.\n```python\n# YOUR CODE HERE\n```\n\n"
        "### Answer: (use the provided format with backticks)\n\n"
    )
    assert (
        f"```python\n{FUNCTION['starter_code']}\n```\n\n### Answer"
        in prompts.messages(function.question, None, "code")[0]["content"]
    )


class _Harmful:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.write_text, (self.path, "x")


def test_private_tests_can_build_nothing_but_strings_and_containers(tmp_path: Path) -> None:
    harmful = packed(_Harmful(tmp_path / "written"))
    (problem,) = livecodebench.load(dataset(tmp_path, [row("a", private_test_cases=harmful)]))
    with pytest.raises(BadInput, match=r"problem a of .*it asks for pathlib"), Verifier() as verifier:
        verifier.check_golds([problem])
    assert not (tmp_path / "written").exists()


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"private_test_cases": "!"}, "problem a"),
        ({"private_test_cases": packed("[")}, "problem a"),
        ({"public_test_cases": "[]", "private_test_cases": "[]"}, "atcoder/a has no tests"),
        ({"metadata": '{"func_name": "f"}', "private_test_cases": '[{"input": "x", "output": "1"}]'}, "holds 'x'"),
    ],
)
def test_tests_that_cannot_be_used_are_refused_by_name(tmp_path: Path, changed: dict[str, Any], says: str) -> None:
    folder = dataset(tmp_path, [row("a", **changed)], [], [], [], [], [])
    with pytest.raises(BadInput, match=says):
        golds.check(livecodebench.load(folder, "release_v6-easy"))


def test_a_missing_file_split_or_column_is_named(tmp_path: Path) -> None:
    folder = dataset(tmp_path, [row("a")])
    with pytest.raises(BadInput, match=r"no file test2\.jsonl"):
        livecodebench.load(folder, "release_v6-easy")
    for split in ("test", "release_v7-easy", "release_v1-simple"):
        with pytest.raises(BadInput, match=f"no split '{split}'"):
            livecodebench.load(folder, split)
    with pytest.raises(BadInput, match=r"Row 2 of test\.jsonl .* lacks difficulty"):
        livecodebench.load(dataset(tmp_path, [row("a"), row("b") | {"difficulty": None}]))


def test_every_difficulty_of_both_releases_is_a_benchmark(tmp_path: Path) -> None:
    folder = dataset(tmp_path, [row(d, d) for d in livecodebench.DIFFICULTIES], [], [], [], [], [row("new", "hard")])
    ids = {}
    for release in ("", "v6-"):
        for difficulty in livecodebench.DIFFICULTIES:
            source = benchmarks.builtin(f"livecodebench-{release}{difficulty}")
            assert source.repo == f"datasets/{livecodebench.DATASET}@{livecodebench.REVISION}"
            assert source.files == (livecodebench.FILES if release else ("test.jsonl",))
            ids[source.name] = [p.id.partition("/")[2] for p in benchmarks.load(source, folder)]
    assert (ids["livecodebench-hard"], ids["livecodebench-v6-hard"]) == (["hard"], ["hard", "new"])
    assert all(ids.values())


# Recorded answers of real models with upstream's verdicts.

DISAGREE = {tuple(answer.split()): reason for answer, reason in cases(__file__)["disagree"]}


def recorded(shared: Path, tests: str) -> tuple[list[dict[str, Any]], dict[str, Problem]]:
    """The recorded answers to the problems whose private tests are of that kind, and all problems by id."""
    import pyarrow.parquet as parquet

    folder = shared / "data" / livecodebench.DATASET
    kinds = {
        r["question_id"]: r["private_tests"]
        for r in map(json.loads, (folder / "provenance.jsonl").read_text().splitlines())
    }
    rows = parquet.read_table(shared / "data" / "grading" / "livecodebench_answers.parquet").to_pylist()
    splits = [f"release_v6-{difficulty}" for difficulty in livecodebench.DIFFICULTIES]
    problems = {p.id.partition("/")[2]: p for split in splits for p in livecodebench.load(folder, split)}
    return [r for r in rows if tests in ("all", kinds[r["question_id"]])], problems


def test_every_real_problem_has_tests_that_can_be_read(shared: Path) -> None:
    rows, problems = recorded(shared, "all")
    assert (len(problems), len(rows)) == (475, 878)
    golds.check(list(problems.values()))


def test_the_program_of_every_recorded_answer_is_the_one_upstream_found(shared: Path) -> None:
    rows, _ = recorded(shared, "all")
    assert [r["question_id"] for r in rows if (code.find(r["output"]) or "") != (r["code"] or "")] == []


def test_recorded_answers_to_problems_with_all_tests_are_graded_as_upstream_did_but_for_those_listed(
    shared: Path,
) -> None:
    rows, problems = recorded(shared, "lite_copy")
    with Verifier() as verifier:
        verdicts = verifier.grade_many((r["output"], problems[r["question_id"]]) for r in rows)
    other = {
        (r["question_id"], r["model"]) for r, v in zip(rows, verdicts, strict=True) if v.score != float(r["graded"])
    }
    assert other == set(DISAGREE)
