"""The local classifier of personas on as many texts as it takes of one sweep, as long as the paper's: time, memory."""

import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator

import numpy as np

from permix.prompting import persona
from permix.results.measures import recovery
from tests.bench.row import Row

PROBLEMS, RUNS, WORDS = 250, 5, 200


def rows() -> Iterator[Row]:
    """Time and peak memory of a process of its own with one thread."""
    alone = os.environ | dict.fromkeys(("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS"), "1")
    command = [sys.executable, "-m", "tests.bench.bench_recovery"]
    done = subprocess.run(command, env=alone, capture_output=True, text=True, check=True)
    texts, seconds, memory, rate = done.stdout.split()
    detail = f"{recovery.FOLDS} folds, {WORDS} words each, one thread; recovery {rate}"
    yield Row(f"recovery, {texts} texts, seconds", float(seconds), 60, detail=detail)
    yield Row(f"recovery, {texts} texts, GB", float(memory), 1.5, detail="peak, Python and libraries included")


def _table() -> list[recovery.Row]:
    """Texts of words by Zipf's law in 30,000, of which three in a hundred are the persona's own."""
    rng = np.random.default_rng(0)
    people = [key.key for key in persona.bundled("eval")]
    table = []
    for number, key in enumerate(people):
        for q in range(PROBLEMS):
            for run in range(RUNS):
                words = rng.zipf(1.3, WORDS) % 30_000
                own = rng.random(WORDS) < 0.03
                words[own] = 30_000 + number * 50 + rng.integers(50, size=int(own.sum()))
                text = " ".join(f"w{np.base_repr(int(word), 26)}" for word in words)
                text = text.translate({ord(str(digit)): chr(ord("q") + digit) for digit in range(10)})
                table.append({"persona": key, "problem_id": f"q{q}", "run": run, "completion": text})
    return table


def _measure() -> None:
    table = _table()
    started = time.perf_counter()
    recovered = recovery.of_rows(table, draws=1000)
    seconds = time.perf_counter() - started
    assert recovered
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(len(table), seconds, memory, recovered["accuracy"])


if __name__ == "__main__":
    _measure()
