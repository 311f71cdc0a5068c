"""Requests for samplers, and their completions."""

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil

from permix.sampling.sampler import Adapter, Completion, Request, Sampling


def requests(n: int = 40, *, max_tokens: int = 30, adapter: Adapter | None = None, **sampling: Any) -> list[Request]:
    """Prompts of many lengths, with and without system message, some of them equal."""
    out = []
    for i in range(n):
        system = [{"role": "system", "content": "You are a cook. " * (i % 3)}] if i % 3 else []
        user = {"role": "user", "content": f"What is {10 ** (i % 7)} and {i % 4}?"}
        settings = Sampling(max_tokens=max_tokens, **sampling)
        out.append(Request(f"r{i:03}", [*system, user], settings, 1000 + i, adapter))
    return out


def numbered(n: int = 20, **sampling: Any) -> list[Request]:
    """Requests that differ in nothing but their number."""
    settings = Sampling(**{"max_tokens": 50, **sampling})
    return [Request(f"r{i:05}", [{"role": "user", "content": f"question {i}"}], settings, 1000 + i) for i in range(n)]


def by_id(completions: Iterator[Completion]) -> dict[str, Completion]:
    answers = list(completions)
    assert len({c.id for c in answers}) == len(answers)
    return {c.id: c for c in answers}


KILLED = """
import sys
from pathlib import Path
sys.path[:0] = [{root!r}]
from permix.sampling.engines import open_engine
from permix.sampling.sampler import Endpoint, Engine
from tests.support.sampling import numbered, requests
for number, _ in enumerate(open_engine({engine}).sample({batch}, Path({journal!r}))):
    print(number, flush=True)
    if number == {last}:
        sys.stdin.read()
"""


def kill_while_sampling(
    engine: str, batch: str, journal: Path, *, last: int, until: Callable[[], object] = lambda: None
) -> list[psutil.Process]:
    """Kill a process once it has completion number `last` and `until` returns, and tear the journal's last line.

    `engine` and `batch` are expressions. Return the processes that the killed one had started.
    """
    code = KILLED.format(
        root=str(Path(__file__).parents[2]), engine=engine, batch=batch, journal=str(journal), last=last
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert [int(next(child.stdout)) for _ in range(last + 1)] == list(range(last + 1))
        until()
        children = psutil.Process(child.pid).children(recursive=True)
        child.send_signal(signal.SIGKILL)
    assert child.returncode == -signal.SIGKILL
    with journal.open("ab") as file:
        file.write(b'{"completions": [{"id": "r0')
    return children
