"""The sandbox: what a run costs beside a bare Python, and grading beside a process for each test."""

import functools
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from permix.sandbox import Sandbox, prove
from permix.sandbox.backend import SAFE, BackEnd
from permix.sandbox.session import SandboxError
from permix.verifier import Problem, Verifier, code
from permix.verifier.code import Case, Suite
from tests.bench.row import Row

TARGETS: dict[BackEnd, float] = {"bubblewrap": 80, "landlock": 15}  # milliseconds
SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
ROUNDS = 20
ANSWERS = 200


def rows() -> Iterator[Row]:
    """Times in turn; of starts the median."""
    for back_end in SAFE:
        if _runs(back_end):
            bare, ours = _in_turn(_bare, functools.partial(Sandbox(back_end).run, "pass"))
            detail = f"{ours * 1000:.0f} ms / python -I -c pass {bare * 1000:.0f} ms"
            yield Row(
                f"one run by {back_end}, ms over bare Python", (ours - bare) * 1000, TARGETS[back_end], detail=detail
            )
    pairs = _answers()
    loop, ours = _timed(lambda: [_loop(text, problem) for text, problem in pairs]), _timed(lambda: _grade(pairs, None))
    yield Row(
        f"grade {len(pairs)} recorded answers, time / one process a test",
        ours / loop,
        0.6,
        detail=f"{ours:.1f} s / {loop:.1f} s",
    )
    busy = [(_fenced(f"print({n} * 0 + sum(range(3_000_000)) * 0 + int(input()))"), _SUM) for n in range(40)]
    single, double = _timed(lambda: _grade(busy, 1)), _timed(lambda: _grade(busy, 2))
    yield Row("programs a second, 2 workers / 1", single / double, 1.8, ">=", f"{len(os.sched_getaffinity(0))} cores")


_SUM = Problem("sum", "", '[{"input": "1", "output": "1"}, {"input": "2", "output": "2"}]', "code")


def _runs(back_end: BackEnd) -> bool:
    try:
        return all(prove(back_end).values())
    except SandboxError as error:
        print(f"  {back_end} does not run here: {error}", file=sys.stderr)
        return False


def _bare() -> None:
    subprocess.run([sys.executable, "-I", "-c", "pass"], check=True)


def _in_turn(first: Callable[[], object], second: Callable[[], object]) -> tuple[float, float]:
    times = [(_timed(first), _timed(second)) for _ in range(ROUNDS)]
    return statistics.median(a for a, _ in times), statistics.median(b for _, b in times)


def _timed(what: Callable[[], object]) -> float:
    start = time.perf_counter()
    what()
    return time.perf_counter() - start


def _grade(pairs: list[tuple[str, Problem]], workers: int | None) -> None:
    with Verifier(workers) as verifier:
        assert verifier.sandbox
        verifier.grade_many(pairs)


def _loop(completion: str, problem: Problem) -> bool:
    """The obvious way: a Python for each test, up to the first that fails; nothing is protected."""
    tests, program = code.suite(problem.id, problem.gold, problem.tests), code.find(completion) or ""
    call = (
        f"\nimport json\nprint(json.dumps(Solution().{tests.entry}(*map(json.loads, sys.stdin.read().split(chr(10))))))"
    )
    with tempfile.NamedTemporaryFile("w", suffix=".py") as file:
        file.write(code.PRELUDE + "\n" + program + (call if tests.entry else ""))
        file.flush()
        return all(_passes(file.name, test, tests) for test in tests.tests)


def _passes(program: str, test: Case, tests: Suite) -> bool:
    try:
        done = subprocess.run(
            [sys.executable, "-I", program], input=test.input.encode(), capture_output=True, timeout=6, check=False
        )
    except subprocess.TimeoutExpired:
        return False
    same = code.same_value if tests.entry else code.same_text
    return not done.returncode and same(done.stdout.decode("utf-8", "replace"), test.expected)


def _answers() -> list[tuple[str, Problem]]:
    """Recorded answers of real models where they are, else programs of ours with as many tests."""
    recorded = SHARED / "grading" / "livecodebench_answers.parquet"
    if not recorded.is_file():
        tests = ", ".join(f'{{"input": "{n}", "output": "{2 * n}"}}' for n in range(12))
        return [
            (
                _fenced(f"print(2 * int(input()) + {n % 2 * (n % 8 == 1)})  # {n}"),
                Problem("double", "", f"[{tests}]", "code"),
            )
            for n in range(ANSWERS)
        ]
    import pyarrow.parquet as parquet

    from permix.benchmarks import livecodebench

    folder = SHARED / "livecodebench" / "code_generation_lite"
    problems = {
        p.id.partition("/")[2]: p
        for d in livecodebench.DIFFICULTIES
        for p in livecodebench.load(folder, f"release_v6-{d}")
    }
    table = parquet.read_table(recorded, columns=["question_id", "output"]).to_pylist()
    return [(row["output"], problems[row["question_id"]]) for row in table[:ANSWERS]]


def _fenced(program: str) -> str:
    return f"```python\n{program}\n```"
