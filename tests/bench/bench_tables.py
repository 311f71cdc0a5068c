"""Everything that follows from stored sweeps as large as the paper's: cases, tables, figures, report, from the Hub and
back to it. The sweeps are made up; completions are drawn from a few thousand texts of about 120 words.
"""

import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pyarrow as arrow
import pyarrow.parquet as parquet
from numpy.typing import NDArray

from embedded_hub import launch
from permix import benchmarks, files
from permix.experiment.recipe import Recipe
from permix.pipeline import recipes
from permix.prompting import persona
from permix.publishing.hub import Hub, RepositoryState
from permix.results.measures import sweep_numbers
from permix.stages import cases, tables
from permix.training import loop
from tests.bench.row import Row

PROBLEMS, RUNS, TEXTS, WORDS = 500, 5, 2_000, 120
NAMES = tuple(f"set-{number}" for number in range(3))
TEACHERS = ("qwen3-32b", "llama3.1-70b", "gemma3-27b")


def rows() -> Iterator[Row]:
    """Time and peak memory of a process of its own, on sweeps that another has put onto an embedded Hub."""
    with tempfile.TemporaryDirectory() as folder:
        home = {"PERMIX_HOME": folder, "HF_HUB_DISABLE_PROGRESS_BARS": "1", "OMP_NUM_THREADS": str(os.cpu_count())}
        command = [sys.executable, "-m", "tests.bench.bench_tables"]
        running = launch.attach(Path(folder) / "hub", port=0)
        try:
            where = [folder, running.url, running.token]
            subprocess.run([*command, "publish", *where], env=os.environ | home, check=True)
            done = subprocess.run(
                [*command, "measure", *where], env=os.environ | home, check=True, stdout=subprocess.PIPE, text=True
            )
        finally:
            for server in launch._started:
                server.terminate()
                server.wait()
    seconds, memory, parts = done.stdout.split(maxsplit=2)
    size = f"12 variants x {len(NAMES)} benchmarks x 18 x {PROBLEMS} x {RUNS}"
    yield Row(f"tables of {size}, seconds", float(seconds), 60, detail=parts.strip())
    yield Row(f"tables of {size}, GB", float(memory), 2, detail="peak, Python and libraries included")


def _plan() -> Recipe:
    """Twelve variants of one base on three benchmarks."""
    own = {name: {"dataset": f"bench/{name}", "problem": "problem", "answer": "answer"} for name in NAMES}
    distilled = [f"{start}seqkd-{teacher}" for start in ("", "permix-") for teacher in TEACHERS]
    names = ["base", "sft", "permix-sft-gold", "permix-sft-styled", *distilled, "rlvr", "permix-rlvr"]
    text = {"base": "bench/base", "org": "bench", "variants": names, "benchmark": own, "sweep": {"runs": RUNS}}
    return recipes.parse({"name": "bench", **text}, "bench.toml")


def _publish(folder: Path, hub: Hub) -> None:
    (config,) = tables.configs(_plan())
    source = folder / "source"
    for name in NAMES:
        problems = [{"problem": f"What is {n}?", "answer": str(n)} for n in range(PROBLEMS)]
        target = source / name / "data"
        target.mkdir(parents=True)
        parquet.write_table(arrow.Table.from_pylist(problems), target / "test-00000-of-00001.parquet")
        hub.publish(f"datasets/bench/{name}", source / name, "problems", None)
    loaded = {own.name: benchmarks.load(own, source / own.name) for own in _plan().benchmarks}
    ids = {name: np.array([problem.id for problem in problems]) for name, problems in loaded.items()}
    hub.publish(config.personas, files.PERSONAS, "personas", None)
    for number, (key, repo) in enumerate(tables.inputs(config).items()):
        target = source / key
        if key.startswith("adapter/"):
            loop.write_lines(target / "log.jsonl", [{"step": n, "reward": n / 100} for n in range(100)])
        elif key not in ("cases", "personas"):
            _sweep(target, number, ids)
        if target.is_dir():
            hub.publish(repo, target, key, None)


def _sweep(folder: Path, number: int, ids: Mapping[str, NDArray[np.str_]]) -> None:
    """The files of one sweep; the personas of a later variant are more alike, and it is right more often."""
    people, rng = [*persona.CONTROLS, *persona.bundled("eval")], np.random.default_rng(number)
    words = [f"w{word}".translate({ord(str(d)): chr(ord("a") + d) for d in range(10)}) for word in range(5_000)]
    texts = [" ".join(words[i] for i in rng.zipf(1.3, WORDS) % 5_000) for _ in range(TEXTS)]
    level = 0.4 + 0.03 * number + np.linspace(-0.2, 0.2, len(people)) / (1 + number)
    hard = rng.normal(0, 0.2, PROBLEMS)
    right = rng.random((len(people), PROBLEMS, RUNS)) < (level[:, None] + hard)[..., None]
    persona_index, which, run = (axis.ravel() for axis in np.indices(right.shape))
    table = {
        "problem_id": which.astype(str),
        "persona": np.array([p.key for p in people])[persona_index],
        "category": np.array([p.category for p in people])[persona_index],
        "run": run.astype(np.int32),
        "completion": np.array(texts, dtype=object)[rng.integers(TEXTS, size=right.size)],
        "finish": np.full(right.size, "stop"),
        "tokens_out": np.full(right.size, 150, np.int32),
        "extracted": np.where(right.ravel(), "1", "0"),
        "status": np.where(right.ravel(), "correct", "wrong"),
        "score": right.ravel().astype(np.float32),
    }
    plain = arrow.table(table).drop_columns(["completion"]).to_pylist()
    numbers = sweep_numbers.of_rows([row | {"completion": None} for row in plain], draws=1000, toy=False)
    numbers["recovery"] = {"accuracy": 0.3, "low": 0.28, "high": 0.32, "chance": 1 / 16, "by_persona": {}}
    for name, problems in ids.items():
        path = folder / "data" / name / "test-00000-of-00001.parquet"
        path.parent.mkdir(parents=True)
        parquet.write_table(arrow.table(table | {"problem_id": problems[which]}), path)
    files.write_json(folder / "summary.json", {"benchmarks": dict.fromkeys(NAMES, numbers)})


class _Parts:
    def __init__(self, heads: dict[str, RepositoryState]) -> None:
        self.sources = {name: f"{head.repo}@{head.sha}" for name, head in heads.items()}


def _measure(folder: Path, hub: Hub) -> None:
    started, laps = time.perf_counter(), {}
    plan = _plan()

    def lap(name: str) -> None:
        laps[name] = time.perf_counter() - started - sum(laps.values())

    (config,), (told,) = tables.configs(plan), cases.configs(plan)
    heads = {name: head for name, repo in tables.inputs(config).items() if (head := hub.state(repo))}
    inputs = {name: hub.fetch(head) for name, head in heads.items()}
    sources = {f"benchmark/{s.name}": hub.fetch(head) for s in plan.benchmarks if (head := hub.state(s.repo))}
    lap("fetch")
    sweeps = {name: inputs[f"{name}-seed0"] for name in plan.variants}
    cases.run(told, sweeps | sources, folder / "cases", context=_Parts(heads))  # type: ignore[arg-type]
    lap("cases")
    out = folder / "tables"
    tables.run(config, inputs | {"cases": folder / "cases"}, out, context=_Parts(heads))  # type: ignore[arg-type]
    lap("tables")
    hub.publish(tables.target(config), out, "tables", None)
    lap("publish")
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(sum(laps.values()), memory, ", ".join(f"{name} {seconds:.1f} s" for name, seconds in laps.items()))


if __name__ == "__main__":
    what, home, url, token = sys.argv[1:]
    hub = Hub(url, token, Path(home) / "cache", embedded=True)
    {"publish": _publish, "measure": _measure}[what](Path(home), hub)
