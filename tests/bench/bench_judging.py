"""Judging many answers against what the judge's server gives to bare sockets: it takes a fixed time for each reply."""

import asyncio
import json
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path

from permix.experiment.models import Model
from permix.judging import judge
from permix.judging.judge import Item, ModelJudge
from permix.judging.structured import Client, SharedBudget
from permix.prompting import prompts
from permix.sampling.sampler import Sampling
from tests.bench.row import Row
from tests.support.judges import parts_in

ANSWERS, CONCURRENCY, ROUNDS = 1000, 64, 3
SECONDS = {1.0: 0.95, 0.25: None}
"""How long the server takes for a reply, and the target; no judge answers in .25 s, which shows what we can at most."""
REPLY = json.dumps(
    {"object": "chat.completion", "model": "slow", "usage": {"prompt_tokens": 1300, "completion_tokens": 60}}
    | {"choices": [{"message": {"content": '{"reason": "so it seems", "score": 3}'}, "finish_reason": "stop"}]}
).encode()


def rows() -> Iterator[Row]:
    """Answers a second over those that as many bare connections get, both in turn."""
    items = _items()
    for seconds, target in SECONDS.items():
        ours, bare = [], []
        with _server(seconds) as port:
            for _ in range(ROUNDS):
                bare.append(asyncio.run(_bare(port, items)))
                ours.append(_judged(port, items))
        ratio = statistics.median(b / o for b, o in zip(bare, ours, strict=True))
        detail = f"{ANSWERS / min(ours):.0f} / {ANSWERS / min(bare):.0f} answers/s, {CONCURRENCY} at once, journaled"
        yield Row(f"judging, throughput / server's at {seconds:g} s a reply", ratio, target, ">=", detail)


def _items() -> list[Item]:
    """Answers of 200 words."""
    examples = [f"An answer worth {score}." for score in range(1, 6)]
    chats = [
        prompts.scoring("You are a chef.", "linguistic_habits", f"What now, {n}?", examples, "Soup! " * 200)
        for n in range(ANSWERS)
    ]
    return [Item(f"q{n}", chat) for n, chat in enumerate(chats)]


async def _bare(port: int, items: Sequence[Item]) -> float:
    """Seconds in which the server takes all requests and gives its replies, as bytes."""
    left = iter([json.dumps({"model": "slow", "messages": item.messages}).encode() for item in items])

    async def work() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for body in left:
            writer.write(b"POST /v1/chat/completions HTTP/1.1\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
            await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(len(REPLY))
        writer.close()

    started = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(CONCURRENCY)))
    return time.perf_counter() - started


def _judged(port: int, items: Sequence[Item]) -> float:
    """Seconds until every answer has its score."""
    with tempfile.TemporaryDirectory() as work, parts_in(Path(work)) as parts:
        model = Model(name="slow", model="slow", url=f"http://127.0.0.1:{port}/v1", concurrency=CONCURRENCY)
        client = Client(model, parts, Sampling(temperature=0.0, max_tokens=400), 2, SharedBudget(0.0))
        client.open().close()  # what is imported once is no part of judging
        started = time.perf_counter()
        judgements = list(ModelJudge(client, judge.SCORE, "judge", 0).judge(items))
        taken = time.perf_counter() - started
    assert {j.score for j in judgements} == {3.0}
    return taken


@contextmanager
def _server(seconds: float) -> Iterator[int]:
    """A server in a process of its own; its port."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_serve, args=(seconds, theirs), daemon=True)
    process.start()
    yield ours.recv()
    process.terminate()
    process.join()


def _serve(seconds: float, port: Connection) -> None:
    async def exchange(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = b"HTTP/1.1 200 X\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
        while request_line := (await reader.readline()):
            length = 0
            while (line := await reader.readline()).strip():
                name, _, value = line.partition(b":")
                length = int(value) if name.lower() == b"content-length" else length
            await reader.readexactly(length)
            await asyncio.sleep(seconds if request_line.startswith(b"POST") else 0)
            writer.write(head % len(REPLY) + REPLY)
            await writer.drain()
        writer.close()

    async def serve() -> None:
        server = await asyncio.start_server(exchange, "127.0.0.1", 0, backlog=1024)
        port.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(serve())
