"""The endpoint back end against a bare loop of asyncio and openai, at the same concurrency on the same server."""

import asyncio
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import openai

from permix.sampler import Endpoint, Request, Sampling, open_engine
from tests.bench.row import Row

REQUESTS, CONCURRENCY, ROUNDS = 1000, 64, 5


def rows() -> Iterator[Row]:
    """Times of both taken in turn; the server answers at once, so that only the clients' own work is measured."""
    asked = [
        Request(f"r{i}", [{"role": "user", "content": f"question {i} " + "word " * 200}], Sampling(), i)
        for i in range(REQUESTS)
    ]
    bare, ours, kept = [], [], []
    with _server() as url, tempfile.TemporaryDirectory() as folder:
        for turn in range(ROUNDS):
            bare.append(_bare(url, asked))
            ours.append(_ours(url, asked, None))
            kept.append(_ours(url, asked, Path(folder) / f"journal-{turn}"))
    ratio = statistics.median(b / k for b, k in zip(bare, kept, strict=True))
    detail = f"{REQUESTS / min(kept):.0f} / {REQUESTS / min(bare):.0f} requests/s, {CONCURRENCY} at once, journaled"
    yield Row("endpoint, throughput / bare openai loop", ratio, 0.95, ">=", detail)
    overhead = statistics.median(k / o for o, k in zip(ours, kept, strict=True))
    yield Row("endpoint, time with journal / without", overhead, None, detail=f"{REQUESTS} answers that take no time")


def _ours(url: str, asked: list[Request], journal: Path | None) -> float:
    sampler = open_engine(Endpoint("good-model", url, concurrency=CONCURRENCY))
    started = time.perf_counter()
    good = sum(c.finish == "stop" for c in sampler.sample(asked, journal))
    taken = time.perf_counter() - started
    sampler.close()
    assert good == len(asked)
    return taken


def _bare(url: str, asked: list[Request]) -> float:
    async def run() -> float:
        free = asyncio.Semaphore(CONCURRENCY)
        async with openai.AsyncOpenAI(base_url=url, api_key="none") as client:

            async def one(request: Request) -> str | None:
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
            texts = await asyncio.gather(*map(one, asked))
            assert all(texts)
            return time.perf_counter() - started

    return asyncio.run(run())


@contextmanager
def _server() -> Iterator[str]:
    command = [sys.executable, "-m", "tests.faulty_server"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout
        yield server.stdout.readline().strip()
        server.communicate()
