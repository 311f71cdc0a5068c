"""Every number of twelve sweeps as large as the paper's on MATH-500, each compared with the first: time and memory."""

import resource
import subprocess
import sys
import time
from collections.abc import Iterator

import numpy as np

from permix.prompting import persona
from permix.results.measures import sweep_numbers
from tests.bench.row import Row

VARIANTS, PROBLEMS, RUNS = 12, 500, 5
SIZE = f"{VARIANTS} variants x 18 x {PROBLEMS} x {RUNS}"


def rows() -> Iterator[Row]:
    """Time and peak memory of a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.bench_statistics"], capture_output=True, text=True, check=True
    )
    summaries, compared, memory = map(float, done.stdout.split())
    yield Row(f"statistics of {SIZE}, seconds", summaries, 10, detail="every number of their cards")
    yield Row(f"statistics of {SIZE}, GB", memory, 1, detail="peak, Python and libraries included")
    yield Row(
        f"{VARIANTS - 1} paired comparisons of such sweeps, seconds", compared, detail="with intervals and p-values"
    )


def _table(variant: int) -> list[sweep_numbers.Row]:
    people = [*persona.CONTROLS, *persona.bundled("eval")]
    right = np.random.default_rng(variant).random((len(people), PROBLEMS, RUNS)) < 0.5
    plain = {"finish": "stop", "status": "correct", "tokens_out": 300}
    return [
        {"persona": member.key, "category": member.category, "problem_id": f"test/{q}.json", "run": r, **plain}
        | {"score": float(right[p, q, r]), "extracted": str(q if right[p, q, r] else q + p % 3)}
        for p, member in enumerate(people)
        for q in range(PROBLEMS)
        for r in range(RUNS)
    ]


def _measure() -> None:
    summaries = compared = 0.0
    first = _table(0)
    for variant in range(VARIANTS):
        table = _table(variant)
        started = time.perf_counter()
        sweep_numbers.of_rows(table, draws=1000, toy=False)
        summaries += time.perf_counter() - started
        if variant:
            started = time.perf_counter()
            sweep_numbers.compare(first, table, draws=1000)
            compared += time.perf_counter() - started
    print(summaries, compared, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)


if __name__ == "__main__":
    _measure()
