"""Is the program right that a model wrote? Found in the completion, run in the sandbox on each test, compared here.

The rules are LiveCodeBench's (https://github.com/LiveCodeBench/LiveCodeBench, lcb_runner/evaluation): the program is
what stands between the last two lines with ```; its output is compared line by line, stripped, as text or as decimal
numbers; a function's result by value. Three differ: a program is run as one (`__name__` is "__main__", standard input
is a real file), it has ended when its last thread has, and its limit is 6 seconds of processor time, so that a busy
machine grades alike.
"""

import functools
import json
import os
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any, Literal, Protocol

from permix.errors import BadInput

if TYPE_CHECKING:
    from permix.sandbox import Result, Sandbox, Session

MODULES = [
    "string", "re", "datetime", "collections", "heapq", "bisect", "copy", "math", "random", "statistics", "itertools",
    "functools", "operator", "io", "sys", "json",
]  # fmt: skip
PRELUDE = "\n".join(
    [
        *(f"from {name} import *" for name in (*MODULES, "builtins", "typing")),
        *(f"import {name}" for name in MODULES),
        "sys.setrecursionlimit(50000)",
        "sys.set_int_max_str_digits(50000)",
    ]
)
"""What upstream puts before every program; answers rely on `List` and `inf`."""

FENCE = "```"
Status = Literal["correct", "wrong", "runtime_error", "time_limit", "memory_limit", "sandbox_error"]


@dataclass(frozen=True)
class Case:
    """What a program reads or a function is given (one JSON value a line), and what it should write or return."""

    given: str
    expected: str


@dataclass(frozen=True)
class Suite:
    """All tests of a problem; `entry` is the method or function to call, "" for a program."""

    tests: tuple[Case, ...]
    entry: str = ""


class Tests(Protocol):
    """Tests that are read only when they are needed."""

    def read(self) -> Suite: ...


@dataclass(frozen=True)
class Ran:
    """How a program did on one test; `detail` says why in a word."""

    status: Status
    detail: str
    seconds: float


@dataclass(frozen=True)
class Job:
    """A program to grade and the tests of its problem; equal jobs are run once."""

    problem: str
    code: str
    gold: str
    tests: Tests | None


def find(completion: str) -> str | None:
    """The program of a completion, or None where there is no text between two fences."""
    lines = completion.split("\n")
    fences = [number for number, line in enumerate(lines) if FENCE in line]
    if len(fences) < 2:
        return None
    return "\n".join(lines[fences[-2] + 1 : fences[-1]]) or None


def suite(problem: str, gold: str, tests: Tests | None) -> Suite:
    """The tests of a problem: its own, or those in its gold answer; BadInput where there are none.

    As gold answer: a JSON list of {"input", "output"}, or {"entry": "function", "tests": [...]}.
    """
    found = tests.read() if tests else _parse(problem, gold)
    if not found.tests:
        raise BadInput(f"Problem {problem} has no tests: remove it, for every program would be right.")
    if found.entry:
        for test in found.tests:
            _check_values(problem, test)
    return found


def run(session: "Session", tests: Suite, *, every: bool = False) -> Iterator[Ran]:
    """Run a program on its tests, up to the first that fails or on every one."""
    for test in tests.tests:
        ran = judge(session.run(test.given.encode()), test.expected, is_function=bool(tests.entry))
        yield ran
        if ran.status != "correct" and not every:
            return


def judge(result: "Result", expected: str, *, is_function: bool = False) -> Ran:
    """Whether what a program wrote, or a function returned, is what was expected."""
    if result.status != "ok":
        return Ran(result.status, result.detail, result.seconds)
    said = result.output.decode("utf-8", "replace")
    right = same_value(said, expected) if is_function else same_text(said, expected)
    return Ran("correct" if right else "wrong", "", result.seconds)


class Grader:
    """Grades programs side by side, one a core; safe to use from several threads."""

    def __init__(self, workers: int | None = None, sandbox: "Sandbox | None" = None) -> None:
        self._workers = workers or (len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1)
        self._sandbox = sandbox
        self._lock = threading.Lock()

    @property
    def sandbox(self) -> "Sandbox":
        """The sandbox, chosen when first needed; PermixError where none works here."""
        from permix.sandbox import Sandbox

        with self._lock:
            if self._sandbox is None:
                self._sandbox = Sandbox()
            return self._sandbox

    def ask(self, jobs: Sequence[Job]) -> dict[Job, Status]:
        """The verdict on each program. PermixError where no sandbox works here, BadInput for unreadable tests."""
        if not jobs:
            return {}
        sandbox, wanted = self.sandbox, list(dict.fromkeys(jobs))
        wanted.sort(key=lambda job: job.problem)
        read = functools.lru_cache(self._workers + 1)(suite)  # the tests of one problem may take 10 MB
        pool = ThreadPoolExecutor(self._workers)
        try:
            said = pool.map(lambda job: _grade(sandbox, job, read(job.problem, job.gold, job.tests)), wanted)
            return dict(zip(wanted, said, strict=True))
        finally:
            pool.shutdown(cancel_futures=True)


def _grade(sandbox: "Sandbox", job: Job, tests: Suite) -> Status:
    from permix.sandbox import SandboxError

    try:
        with sandbox.open(job.code, tests.entry, PRELUDE) as session:
            return list(run(session, tests))[-1].status
    except SandboxError:
        return "sandbox_error"


def same_text(said: str, expected: str) -> bool:
    """Line by line, stripped, as text or as decimal numbers."""
    lines, wanted = ([line.strip() for line in text.strip().split("\n")] for text in (said, expected))
    return len(lines) == len(wanted) and all(a == b or _same_numbers(a, b) for a, b in zip(lines, wanted, strict=True))


def _same_numbers(said: str, expected: str) -> bool:
    a, b = said.split(), expected.split()
    try:
        return len(a) == len(b) and [Decimal(word) for word in b] == [Decimal(word) for word in a]
    except (InvalidOperation, ValueError):  # no numbers, or not a number that signals
        return False


def same_value(said: str, expected: str) -> bool:
    """Equal as JSON values: a tuple is a list."""
    try:
        return bool(json.loads(said) == json.loads(expected))
    except (ValueError, RecursionError):  # nothing, deeper than we read, or a number of more than 4300 digits
        return False


def _parse(problem: str, gold: str) -> Suite:
    try:
        found: Any = json.loads(gold)
        entry, tests = (found["entry"], found["tests"]) if isinstance(found, dict) else ("", found)
        return Suite(tuple(Case(_text(test["input"]), _text(test["output"])) for test in tests), _text(entry))
    except (ValueError, TypeError, KeyError, RecursionError):
        raise BadInput(
            f"The tests of problem {problem} cannot be read: they should be JSON, "
            'a list of {"input": "...", "output": "..."} or {"entry": "function", "tests": [...]}.'
        ) from None


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    raise TypeError(value)


def _check_values(problem: str, test: Case) -> None:
    for line in (*filter(str.strip, test.given.split("\n")), test.expected):
        try:
            json.loads(line)
        except ValueError:
            raise BadInput(
                f"A test of problem {problem} holds {line[:60]!r}: arguments and result of a function should be JSON."
            ) from None
