"""Grade a program that a model wrote: extract it, run it on every test in the sandbox, compare the outputs here.

The rules are LiveCodeBench's (https://github.com/LiveCodeBench/LiveCodeBench, lcb_runner/evaluation): the program is
the text between the last two lines with ```; its output is compared line by line, stripped, as text or as decimal
numbers; a function's result by value. Three rules differ: a program runs as `__main__` with a real file as standard
input, it ends with its last thread, and its limit is 6 seconds of processor time, which a busy machine does not change.
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
"""Upstream's code before every program; answers rely on `List` and `inf`. LiveCodeBench's programs have no `quit`."""

FENCE = "```"
Status = Literal["correct", "wrong", "runtime_error", "time_limit", "memory_limit", "sandbox_error"]


@dataclass(frozen=True)
class Case:
    """The input of a program or a function (one JSON value a line), and the expected output or return value."""

    input: str
    expected: str


@dataclass(frozen=True)
class Suite:
    """All tests of a problem; `entry` is the method or function to call, "" for a program."""

    tests: tuple[Case, ...]
    entry: str = ""


class Tests(Protocol):
    """Tests that are read on demand."""

    def read(self) -> Suite: ...


@dataclass(frozen=True)
class CaseResult:
    """The result of a program on one test, with the reason in `detail`."""

    status: Status
    detail: str
    seconds: float


@dataclass(frozen=True)
class Submission:
    """A program to grade and the tests of its problem."""

    problem: str
    code: str
    gold: str
    tests: Tests | None


def find(completion: str) -> str | None:
    """Return the program of a completion, or None without text between two fences."""
    lines = completion.split("\n")
    fences = [number for number, line in enumerate(lines) if FENCE in line]
    if len(fences) < 2:
        return None
    return "\n".join(lines[fences[-2] + 1 : fences[-1]]) or None


def suite(problem: str, gold: str, tests: Tests | None) -> Suite:
    """Return `tests`, or the tests in a gold answer; BadInput where there are none.

    A gold answer is a JSON list of {"input", "output"}, or {"entry": "function", "tests": [...]}.
    """
    cases = tests.read() if tests else _parse(problem, gold)
    if not cases.tests:
        raise BadInput(f"Problem {problem} has no tests: remove it, because every program would be right.")
    if cases.entry:
        for test in cases.tests:
            _check_values(problem, test)
    return cases


def run(session: "Session", tests: Suite, *, every: bool = False) -> Iterator[CaseResult]:
    """Run a program on its tests, up to the first that fails or on all of them."""
    for test in tests.tests:
        result = judge(session.run(test.input.encode()), test.expected, is_function=bool(tests.entry))
        yield result
        if result.status != "correct" and not every:
            return


def judge(result: "Result", expected: str, *, is_function: bool = False) -> CaseResult:
    """Compare the output of a program, or the value of a function, with the expected one."""
    if result.status != "ok":
        return CaseResult(result.status, result.detail, result.seconds)
    output = result.output.decode("utf-8", "replace")
    right = same_value(output, expected) if is_function else same_text(output, expected)
    return CaseResult("correct" if right else "wrong", "", result.seconds)


class Grader:
    """Grades programs in parallel, one per core; safe to use from several threads."""

    def __init__(self, workers: int | None = None, sandbox: "Sandbox | None" = None) -> None:
        self._workers = workers or (len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1)
        self._sandbox = sandbox
        self._lock = threading.Lock()

    @property
    def sandbox(self) -> "Sandbox":
        """The sandbox, chosen on first use; PermixError where none works."""
        from permix.sandbox import Sandbox

        with self._lock:
            if self._sandbox is None:
                self._sandbox = Sandbox()
            return self._sandbox

    def ask(self, submissions: Sequence[Submission]) -> dict[Submission, Status]:
        """Return the verdict on each program. PermixError where no sandbox works, BadInput for unreadable tests."""
        if not submissions:
            return {}
        sandbox, distinct = self.sandbox, sorted(set(submissions), key=lambda submission: submission.problem)
        read = functools.lru_cache(self._workers + 1)(suite)  # the tests of one problem may take 10 MB
        pool = ThreadPoolExecutor(self._workers)
        try:
            statuses = pool.map(
                lambda s: _grade(
                    sandbox, s.code, read(s.problem, s.gold, s.tests), PRELUDE if s.tests else f"{PRELUDE}\nquit = exit"
                ),
                distinct,
            )
            return dict(zip(distinct, statuses, strict=True))
        finally:
            pool.shutdown(cancel_futures=True)


def _grade(sandbox: "Sandbox", program: str, tests: Suite, prelude: str) -> Status:
    from permix.sandbox import SandboxError

    try:
        with sandbox.open(program, tests.entry, prelude) as session:
            return list(run(session, tests))[-1].status
    except SandboxError:
        return "sandbox_error"


def same_text(output: str, expected: str) -> bool:
    """Compare line by line, stripped, as text or as decimal numbers."""
    first, second = ([line.strip() for line in text.strip().split("\n")] for text in (output, expected))
    return len(first) == len(second) and all(a == b or _same_numbers(a, b) for a, b in zip(first, second, strict=True))


def _same_numbers(output: str, expected: str) -> bool:
    a, b = output.split(), expected.split()
    try:
        return len(a) == len(b) and [Decimal(word) for word in b] == [Decimal(word) for word in a]
    except (InvalidOperation, ValueError):  # not numbers, or a signalling NaN
        return False


def same_value(output: str, expected: str) -> bool:
    """Compare as JSON values: a tuple equals a list."""
    try:
        return bool(json.loads(output) == json.loads(expected))
    except (ValueError, RecursionError):  # empty, nested too deeply, or a number of more than 4300 digits
        return False


def _parse(problem: str, gold: str) -> Suite:
    try:
        content: Any = json.loads(gold)
        entry, tests = (content["entry"], content["tests"]) if isinstance(content, dict) else ("", content)
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
    for line in (*filter(str.strip, test.input.split("\n")), test.expected):
        try:
            json.loads(line)
        except ValueError:
            raise BadInput(
                f"A test of problem {problem} holds {line[:60]!r}: arguments and result of a function should be JSON."
            ) from None
