"""Requests for samplers, and their completions."""

from collections.abc import Iterator
from typing import Any

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
