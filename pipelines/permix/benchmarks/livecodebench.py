"""LiveCodeBench (Jain et al. 2024, arXiv 2403.07974): contest problems, answered by a program that must pass all tests.

A split is a release and a difficulty, `release_v1-easy`. The paper's numbers (Tables 4 and 12) fit release_v1, its
text says v6. Releases are cumulative, with one jsonl file for each increment; `datasets` no longer loads this dataset,
which has a script. A line may have 10 MB of tests, so a problem has only the position of its line. Licence of the
dataset card: cc.
"""

import base64
import io
import json
import pickle
import tomllib
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from permix.errors import BadInput
from permix.verifier import Problem
from permix.verifier.code import Case, Suite

DATASET = "livecodebench/code_generation_lite"
REVISION = "0fe84c3912ea0c4d4a78037083943e8f0c4dd505"
CONFIG = ""
REPUBLISH = False
FILES = ("test.jsonl", "test2.jsonl", "test3.jsonl", "test4.jsonl", "test5.jsonl", "test6.jsonl")
DIFFICULTIES = ("easy", "medium", "hard")

_TEXTS = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
ERRATA: dict[str, str] = _TEXTS["errata"]
"""Problems that upstream marks as broken (its ERRATA.md), LeetCode's by their titles. They are graded as upstream does,
so that accuracies compare with published ones. The column `erratum` of a sweep marks them, and its summary also has the
numbers without them."""


@dataclass(frozen=True)
class Line:
    """The tests of a problem: the line that begins at byte `start` of `file`."""

    file: Path
    start: int

    def read(self) -> Suite:
        """Return all tests, public and private; BadInput where they cannot be read."""
        with self.file.open("rb") as lines:
            lines.seek(self.start)
            row = json.loads(lines.readline())
        try:
            public, private = json.loads(row["public_test_cases"]), _private(row["private_test_cases"])
            tests = tuple(Case(str(test["input"]), str(test["output"])) for test in (*public, *private))
            return Suite(tests, str(json.loads(row["metadata"]).get("func_name") or ""))
        except (ValueError, KeyError, TypeError, zlib.error, pickle.UnpicklingError, EOFError, RecursionError) as error:
            raise BadInput(
                f"The tests of problem {row.get('question_id')} of {DATASET} cannot be read ({error}): "
                "pin another revision."
            ) from None


def files(split: str) -> tuple[str, ...]:
    """Return the files of a split's release: release_v1 needs 1.3 of all 4.5 GB."""
    known = [f"release_v{number + 1}" for number in range(len(FILES))]
    release = split.partition("-")[0]
    if release not in known:
        raise _no_split(split)
    return FILES[: known.index(release) + 1]


def _no_split(split: str) -> BadInput:
    return BadInput(f"{DATASET} has no split {split!r}: it should be release_v1-easy … release_v6-hard.")


def load(folder: Path | None, split: str = "release_v1-easy", limit: int = 0) -> list[Problem]:
    """Return the first `limit` problems (0: all) of a release and difficulty; BadInput for a missing or broken file."""
    names, difficulty = files(split), split.partition("-")[2]
    if folder is None or difficulty not in DIFFICULTIES:
        raise _no_split(split)
    problems: list[Problem] = []
    for name in names:
        for line, row in _rows(folder / name):
            if limit and len(problems) == limit:
                return problems
            if row["difficulty"] == difficulty:
                starter = row["starter_code"]
                format = _TEXTS["starter"].format(starter=starter) if starter else _TEXTS["stdin"]
                question = f"{row['question_content']}\n\n{format}"
                name = f"{row['platform']}/{row['question_id']}"
                erratum = ERRATA.get(row["question_id"]) or ERRATA.get(row.get("question_title", ""), "")
                problems.append(Problem(name, question, "", "code", tests=line, erratum=erratum))
    return problems


def _rows(file: Path) -> Iterator[tuple[Line, dict[str, Any]]]:
    if not file.is_file():
        raise BadInput(f"{DATASET} has no file {file.name}: pin a revision with test.jsonl … test6.jsonl.")
    start = 0
    with file.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            try:
                row = json.loads(line)
                missing = [key for key in _COLUMNS if not isinstance(row[key], str)]
            except (ValueError, KeyError, TypeError):
                missing = ["a column"]
            if missing:
                raise BadInput(f"Row {number} of {file.name} of {DATASET} lacks {missing[0]}: pin another revision.")
            yield Line(file, start), row
            start += len(line)


_COLUMNS = (
    "question_content", "platform", "question_id", "starter_code", "difficulty",
    "public_test_cases", "private_test_cases", "metadata",
)  # fmt: skip


class _Plain(pickle.Unpickler):
    """Builds strings and containers only, neither classes nor functions."""

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"it asks for {module}.{name}")

    def persistent_load(self, pid: Any) -> Any:
        raise pickle.UnpicklingError("it refers to something outside")


def _private(text: str) -> list[dict[str, Any]]:
    """Return the private tests from JSON, or from base64 of zlib of a pickled JSON string."""
    if text.lstrip().startswith("["):
        return list(json.loads(text))
    unpacked = _Plain(io.BytesIO(zlib.decompress(base64.b64decode(text)))).load()
    return list(json.loads(unpacked))
