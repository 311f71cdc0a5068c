"""What it costs to grade an answer: integers at once, all else by math-verify in the pool.

In seconds of processor time, of this process and of the pool's one worker: that is per core.
"""

import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil

from permix.verifier import Verifier
from tests.bench.row import Row

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data" / "grading"
ROUNDS, INTEGERS, FORMULAS = 5, 100_000, 240
RATIONALE = "First add the pens of both boxes, then take away the {n} that were given to friends. " * 4
SHAPES = (
    ("\\frac{{{n}}}{{{m}}}", "{n}/{m}"),
    ("\\sqrt{{{n}}}", "{n}^{{1/2}}"),
    ("{n}.5", "\\frac{{{m}}}{{2}}"),
    ("({n}, {m})", "\\left({n},{m}\\right)"),
    ("{n}x^2+{m}x", "x({n}x+{m})"),
    ("{n}\\%", "\\frac{{{n}}}{{100}}"),
)
"""Gold and answer, right ones and wrong ones; no two of a round are the same, for the pool remembers."""
Pairs = Sequence[tuple[str, str]]


def rows() -> Iterator[Row]:
    """Medians of rounds, each with a verifier of its own whose worker has started."""
    integers = [
        (f"{RATIONALE.format(n=n)}The answer is \\boxed{{{n}}}.", str(n + n % 2)) for n in range(1000, 1000 + INTEGERS)
    ]
    rate = len(integers) / _seconds(integers)
    yield Row("integer answers graded a second", rate, 100_000, ">=", f"{len(RATIONALE)} characters each")
    formulas = [_formula(n) for n in range(2, 2 + FORMULAS)]
    cost = 1000 * _seconds(formulas) / FORMULAS
    yield Row("formulas, ms each", cost, detail=f"{len(SHAPES)} shapes, no two equal: none is an integer")
    recorded = _recorded() or [pair for n, pair in enumerate(integers[: 8 * FORMULAS]) if n % 8] + formulas
    cost = 1000 * _seconds(recorded) / len(recorded)
    what = "recorded MATH answers" if _recorded() else "answers, an eighth of them formulas"
    yield Row("answers as they come, ms each", cost, 1.2, detail=f"{len(recorded)} {what}")


def _seconds(pairs: Pairs) -> float:
    times = []
    for _ in range(ROUNDS):
        with Verifier(workers=1) as verifier:
            verifier.grade("\\boxed{\\frac{1}{2}}", "0.5")
            before = _used()
            verifier.grade_many(pairs)
            times.append(_used() - before)
    return statistics.median(times)


def _used() -> float:
    here = psutil.Process()
    return float(sum(sum(process.cpu_times()[:2]) for process in (here, *here.children())))


def _formula(n: int) -> tuple[str, str]:
    gold, answer = (text.format(n=n, m=n + 1) for text in SHAPES[n % len(SHAPES)])
    return f"So it is \\boxed{{{answer}}}.", gold


def _recorded() -> Pairs:
    """Answers of real models, where they are."""
    import pyarrow.parquet as parquet

    file = SHARED / "math_model_answers.parquet"
    rows = parquet.read_table(file, columns=["answer", "gold"]).to_pylist() if file.is_file() else []
    return [(row["answer"], row["gold"]) for row in rows]
