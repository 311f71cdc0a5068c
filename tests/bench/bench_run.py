"""The whole toy run: time, memory, the runner's share of it, and how fast a current chain is recognised."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from permix.pipeline import plan, recipes
from tests.bench.row import Row
from tests.support.command_line import environment_of, permix


def rows() -> Iterator[Row]:
    """Run toy with two workers, smoke with one, and a current chain."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        toy, memory = _timed(home / "toy", "run", "--recipe", "toy")
        yield Row("toy run, minutes", toy / 60, 8, detail=f"{os.cpu_count()} cores")
        yield Row("toy run, peak memory of all processes, GB", memory / 2**30, 3, detail="sum of RSS")
        current = min(_timed(home / "toy", "run", "--recipe", "toy")[0] for _ in range(3))
        yield Row("current chain, seconds", current, 3, detail="permix run, best of 3")
        smoke, _ = _timed(home / "smoke", "run", "--recipe", "smoke", "--workers", "1")
        yield Row("smoke run, minutes", smoke / 60, 2, detail="one worker")
        stages = sum(_seconds(home / "smoke"))
        overhead = (smoke - stages) / toy
        detail = (
            f"{smoke:.1f} s of smoke less {stages:.1f} s in stages, over {toy:.0f} s of toy; both have the same steps"
        )
        yield Row("runner's share of the toy run", overhead, 0.03, detail=detail)


def _timed(home: Path, *arguments: str) -> tuple[float, int]:
    """Seconds and the highest sum of resident memory over the process and its children."""
    home.mkdir(exist_ok=True)
    started, peak = time.perf_counter(), 0
    run = subprocess.Popen(
        [sys.executable, "-m", "permix", *arguments], env=environment_of(home), cwd=home, stdout=subprocess.DEVNULL
    )
    watched = psutil.Process(run.pid)
    while run.poll() is None:
        try:
            peak = max(peak, sum(p.memory_info().rss for p in [watched, *watched.children(recursive=True)]))
        except psutil.NoSuchProcess:
            continue
        time.sleep(0.05)
    if run.returncode:
        raise RuntimeError(f"permix {' '.join(arguments)} ended with {run.returncode}")
    return time.perf_counter() - started, peak


def _seconds(home: Path) -> Iterator[float]:
    """What each stage took, from the run records."""
    for step in plan.build(recipes.load("smoke")):
        record = json.loads(permix(home, "show", step.target, "--json").stdout)
        yield record["cost"]["seconds"]
