"""Sources of problems: our benchmarks (one module each) and columns of any Hub dataset.

A module of this folder has DATASET (a Hub id, or "" for generated problems), its REVISION on huggingface.co, CONFIG,
and `load(folder, split, limit) -> list[Problem]`; optionally `files(split)`, the files of a split, where others are
large, and REPUBLISH = False, if its terms forbid to publish its texts again.
"""

import functools
import importlib
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import Any

from permix import parquet
from permix.errors import BadInput, nearest
from permix.prompting.prompts import Instruction
from permix.run_record import later
from permix.verifier import Kind, Problem, gold_text

_BUILTIN: dict[str, tuple[str, str, Instruction]] = {
    "arithmetic": ("arithmetic", "test", "plain"),
    "arithmetic-long": ("arithmetic", "long", "plain"),
    "gsm8k": ("gsm8k", "test", "boxed"),
    "math500": ("math500", "test", "boxed"),
    "aime2024": ("aime2024", "train", "boxed"),
    "livecodebench-easy": ("livecodebench", "release_v1-easy", "code"),
    "livecodebench-medium": ("livecodebench", "release_v1-medium", "code"),
    "livecodebench-hard": ("livecodebench", "release_v1-hard", "code"),
    "livecodebench-v6-easy": ("livecodebench", "release_v6-easy", "code"),
    "livecodebench-v6-medium": ("livecodebench", "release_v6-medium", "code"),
    "livecodebench-v6-hard": ("livecodebench", "release_v6-hard", "code"),
}
"""name -> module, split, instruction"""


@dataclass(frozen=True, kw_only=True)
class Source:
    """Problems: those of `module` in this folder, or the columns `problem` and `answer` of `dataset`.

    The column `rationale`, if named, holds the gold reasoning that SFT trains on, which ends in the answer. A Source is
    the training task ([task]) or a benchmark ([benchmark.x]); `limit` 0 means all. Without `republish`, the rows of
    sweeps name the problems by id only.
    """

    name: str
    module: str = ""
    dataset: str = ""
    config: str = ""
    split: str = "test"
    problem: str = "question"
    answer: str = "answer"
    rationale: str = ""
    verifier: Kind = "math"
    instruction: Instruction = "boxed"
    limit: int = 0
    republish: bool = later(True)

    @property
    def repo(self) -> str:
        """The dataset's repository, or "" for generated problems."""
        return f"datasets/{self.dataset}" if self.dataset else ""

    @property
    def files(self) -> tuple[str, ...]:
        """The dataset's files that hold these problems; () for all files."""
        page = self._page
        return tuple(page.files(self.split)) if hasattr(page, "files") else ()

    def texts(self, problem: Problem) -> dict[str, str]:
        """Return the columns `question` and `gold` of a sweep's row, "" if they may not be published again."""
        may = self.republish and getattr(self._page, "REPUBLISH", True)
        return texts(problem) if may else dict.fromkeys(texts(problem), "")

    @property
    def _page(self) -> Any:
        return importlib.import_module(f"permix.benchmarks.{self.module}") if self.module else None


def texts(problem: Problem) -> dict[str, str]:
    """Return the texts of a problem as columns; the gold of code is its tests, which may be large, and is omitted."""
    return {"question": problem.question, "gold": "" if problem.kind == "code" else problem.gold}


def builtin(name: str) -> Source:
    """Return our benchmark called `name`; BadInput names the nearest."""
    if name not in _BUILTIN:
        advice = f"A benchmark of your own needs a table [benchmark.{name}] with dataset=."
        raise BadInput(f"There is no benchmark {name!r}: {nearest(name, _BUILTIN)} {advice}")
    module, split, instruction = _BUILTIN[name]
    page = importlib.import_module(f"permix.benchmarks.{module}")
    dataset = f"{page.DATASET}@{page.REVISION}" if page.DATASET else ""
    return Source(name=name, module=module, dataset=dataset, config=page.CONFIG, split=split, instruction=instruction)


@functools.cache
def pinned() -> frozenset[str]:
    """Return the repositories of our benchmarks, each at its revision."""
    return frozenset(filter(None, (builtin(name).repo for name in _BUILTIN)))


def reads(sources: Iterable[Source]) -> dict[str, tuple[str, ...]]:
    """Return {input: its files} for the inputs benchmark/<name> of a stage."""
    return {f"benchmark/{source.name}": source.files for source in sources if source.files}


def load(source: Source, folder: Path | None) -> list[Problem]:
    """Return the problems of `source`; `folder` is its downloaded dataset, None without a dataset."""
    if source.module:
        page = importlib.import_module(f"permix.benchmarks.{source.module}")
        problems: list[Problem] = page.load(folder, source.split, source.limit)
    else:
        assert folder is not None
        problems = list(_columns(source, parquet.of_split(folder, source.dataset, source.split, source.config)))
    if not problems:
        raise BadInput(f"The split {source.split!r} of {source.dataset or source.name} holds no problem.")
    return problems


def _columns(source: Source, table: Iterable[dict[str, Any]]) -> Iterator[Problem]:
    for number, row in enumerate(islice(table, source.limit or None)):
        for column in filter(None, (source.problem, source.answer, source.rationale)):
            if column not in row:
                raise BadInput(f"{source.dataset} has no column {column!r}: {nearest(column, row)}")
            cell = row[column]
            readable = isinstance(cell, str | int | Decimal) or (isinstance(cell, float) and math.isfinite(cell))
            if not readable or cell == "":
                raise BadInput(
                    f"Row {number} of {source.dataset} has {cell!r}{' (an empty cell)' if cell is None else ''} under "
                    f"{column!r}: it should be a text or a number."
                )
        name, rationale = f"{source.name}/{source.split}/{number}", row[source.rationale] if source.rationale else ""
        question, gold, reasoning = (gold_text(cell) for cell in (row[source.problem], row[source.answer], rationale))
        yield Problem(name, question, gold, source.verifier, reasoning)
