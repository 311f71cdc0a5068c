"""Random values in place of sensible ones: refused or accepted, but never a failure of the server."""

import json
import random
from typing import Any
from urllib.parse import quote

from huggingface_hub import HfApi

from tests.support.cases import cases
from tests.support.wire import Wire

BODIES, LINES = cases(__file__)["bodies"], cases(__file__)["lines"]
"""The keys of each request, and of each line of a commit."""
VALUES: list[Any] = [
    None, True, -1, 0, 1.5, 10**40, "", "a", "main", "lab/r", "\ud800", "\0", "é/..", "a" * 5000, [], [None], {},
    {"a": 1}, [{"path": "a", "size": "x", "sample": "%%"}], [{"path": 3}], [{"oid": "a" * 64, "size": 1}],
    "refs/heads/main", "²",
]  # fmt: skip


def test_random_bodies_never_break_the_server(wire: Wire, api: HfApi) -> None:
    api.create_repo("lab/fuzz")
    numbers = random.Random(1)
    for _ in range(40):
        for request, keys in BODIES.items():
            method, path = request.format(repo="/api/models/lab/fuzz").split(" ")
            body: Any = {key: numbers.choice(VALUES) for key in keys if numbers.random() < 0.8}
            body = numbers.choice([body, body, body, numbers.choice(VALUES)])
            answer = wire(method, path, body, Content_Type="application/json")
            assert answer.status < 500 or answer.status == 501, (request, body, answer.body)
            api.create_repo("lab/fuzz", exist_ok=True)


def test_random_commits_never_break_the_server(wire: Wire, repo: str) -> None:
    numbers = random.Random(2)
    for _ in range(200):
        lines = [{"key": "header", "value": {"summary": "s"}}] if numbers.random() < 0.8 else []
        for key in numbers.choices(list(LINES), k=3):
            value = {name: numbers.choice(VALUES) for name in LINES[key] if numbers.random() < 0.8}
            lines.append({"key": key, "value": value})
        body = "\n".join(json.dumps(line) for line in lines).encode()
        answer = wire("POST", f"/api/models/{repo}/commit/main", body)
        assert answer.status in (200, 400, 404, 412), (lines, answer.body)


def test_random_queries_and_paths_never_break_the_server(wire: Wire, repo: str) -> None:
    words = [quote(str(value), safe="", errors="replace") for value in VALUES]
    numbers = random.Random(3)
    names = ("limit", "cursor", "p", "sort", "filter", "search", "author", "expand", "full", "recursive", "direction")
    for _ in range(300):
        query = "&".join(f"{numbers.choice(names)}={numbers.choice(words)}" for _ in range(3))
        revision, path = (numbers.choice(["main", *words]) for _ in range(2))
        for address in (
            f"/api/models?{query}",
            f"/api/models/{repo}?{query}",
            f"/api/models/{repo}/tree/{revision}/{path}?{query}",
            f"/api/models/{repo}/commits/{revision}?{query}",
            f"/api/models/{repo}/discussions?{query}",
            f"/api/models/{repo}/discussions/{revision}?{query}",
            f"/{repo}/resolve/{revision}/{path}",
        ):
            answer = wire("GET", address)
            assert answer.status < 500 or answer.status == 501, (address, answer.body)
