"""The Spaces: first paint, first token, a switch of adapters, and a leaderboard of 12 variants x 3 benchmarks."""

import io
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as arrow
import pyarrow.parquet as parquet
from huggingface_hub import CommitOperationAdd, HfApi

from embedded_hub import launch
from permix.results.measures import pss
from permix.stages import apps
from tests.bench.row import SCRIPTS, Row
from tests.support.command_line import environment_of
from tests.support.spaces import CHROMIUM, serve

VARIANTS, BENCHMARKS, PERSONAS, PROBLEMS, RUNS = 12, 3, 16, 500, 5
ROUNDS = 5
ORG, TOY = "synthetic", "permix-smoke"


def rows() -> Iterator[Row]:
    """Times in seconds, as a visitor on this machine sees them."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        command = [sys.executable, "-m", "permix", "run", "--recipe", "smoke"]
        subprocess.run(command, env=environment_of(home), check=True, stdout=subprocess.DEVNULL)
        running = launch.attach(home / "hub")
        access = launch.client_environment(running, home)
        yield from _talk(access)
        _publish(HfApi(running.url, token=running.token))
        for space, org in (("pss", TOY), ("permix-chat", TOY), ("permix-leaderboard", ORG)):
            here = home / space
            here.mkdir()
            with serve(space, here, **access, PERMIX_ORG=org) as url:
                yield from _page(space, url)


def _talk(access: dict[str, str]) -> Iterator[Row]:
    api = HfApi(access["HF_ENDPOINT"], token=access["HF_TOKEN"])
    base = f"{TOY}/permix-toy-base@{api.model_info(f'{TOY}/permix-toy-base').sha}"
    names = [f"{TOY}/permix-toy-rlvr", f"{TOY}/permix-toy-permix-rlvr"]
    with tempfile.TemporaryDirectory() as folder:
        space = apps.build("permix-chat", Path(folder))
        done = subprocess.run(
            [sys.executable, "-c", SCRIPTS["talk to the chat"], str(space), base, *names],
            env=os.environ | access,
            check=True,
            capture_output=True,
            text=True,
        )
    firsts = json.loads(done.stdout)
    yield Row("chat: first token of the toy base, seconds", firsts[0], 0.3, detail="the first answer of all")
    yield Row("chat: first token of an adapter not yet loaded, seconds", max(firsts[1:3]), detail="the slower of 2")
    switched = statistics.median(firsts[3:])
    yield Row("chat: first token after a switch of adapters, seconds", switched, 0.3, detail="18, alternating")


def _page(space: str, url: str) -> Iterator[Row]:
    """What a visitor waits for, in Chromium, and the memory of the app afterwards."""
    if not CHROMIUM.exists():
        return
    from playwright.sync_api import sync_playwright

    paints, ready = [], []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        for _ in range(ROUNDS):
            page = browser.new_page()
            started = time.perf_counter()
            page.goto(url)
            if space == "permix-leaderboard":
                page.get_by_role("link", name=f"{VARIANTS} rows").wait_for()
            ready.append(time.perf_counter() - started)
            name = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime"
            page.wait_for_function(name)
            paints.append(page.evaluate(name) / 1000)
            page.close()
        browser.close()
    yield Row(f"{space}: first paint, seconds", statistics.median(paints), 2, detail="in Chromium, on loopback")
    if space == "permix-leaderboard":
        size = f"{VARIANTS} variants x {BENCHMARKS} benchmarks"
        yield Row("leaderboard: the table is there, seconds", max(ready), 3, detail=f"{size}, the first visit")
        yield Row("leaderboard: peak memory, MB", _peak(url), 500, detail=f"{size}, after {ROUNDS} visits")


def _peak(url: str) -> float:
    """The most memory that the process which listens there has had."""
    port = f"{int(url.rpartition(':')[2]):04X}"
    listed = Path("/proc/net/tcp").read_text().splitlines()[1:]
    (inode,) = {f[9] for line in listed if (f := line.split())[1].endswith(f":{port}") and f[3] == "0A"}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if any(str(held.readlink()) == f"socket:[{inode}]" for held in (process / "fd").iterdir()):
                status = (process / "status").read_text()
                return int(status.partition("VmHWM:")[2].split()[0]) / 1e3
        except OSError:  # it ended, or is another user's
            continue
    raise AssertionError(f"no process listens on {url}")


def _publish(api: HfApi) -> None:
    """Sweeps as large as the paper's: their summaries in full, and the scores of every answer."""
    noise = np.random.default_rng(0)
    shape = (PERSONAS, PROBLEMS, RUNS)
    people, problems, runs = (axis.ravel() for axis in np.indices(shape))
    for number in range(VARIANTS):
        name, summaries, files = f"permix-sweep-synthetic-{number}", {}, []
        for benchmark in (f"benchmark-{index}" for index in range(BENCHMARKS)):
            scores = (noise.random(shape) < 0.3 + 0.03 * number).astype(float).ravel()
            measured: Any = pss.compute(scores, people, problems, runs, draws=100)
            accuracy = {
                f"persona-{number_of_persona}": scores[people == number_of_persona].mean()
                for number_of_persona in range(PERSONAS)
            }
            numbers = {k: v for k, v in measured.items() if isinstance(v, int | float) and np.isfinite(v)}
            summaries[benchmark] = {"accuracy": accuracy, "pss": numbers, "problems": PROBLEMS, "runs": RUNS}
            columns = {
                "persona": [f"persona-{number_of_persona}" for number_of_persona in people],
                "problem_id": [f"p/{n}" for n in problems],
            }
            columns |= {"run": runs, "score": scores, "completion": ["x" * 400] * len(scores)}
            out = io.BytesIO()
            parquet.write_table(arrow.table(columns), out)
            files.append(CommitOperationAdd(f"data/{benchmark}/test-00000-of-00001.parquet", out.getvalue()))
        summary = {"title": f"Variant {number}", "base": "synthetic/base", "seed": 0, "benchmarks": summaries}
        files.append(CommitOperationAdd("summary.json", json.dumps(summary).encode()))
        api.create_repo(f"{ORG}/{name}", repo_type="dataset")
        api.create_commit(f"{ORG}/{name}", files, repo_type="dataset", commit_message="Add")
