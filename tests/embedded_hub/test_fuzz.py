"""Random values in place of sensible ones: refused or accepted, but never a failure of the server."""

import json
import random
from typing import Any
from urllib.parse import quote

from huggingface_hub import HfApi

from tests.support.wire import Wire

VALUES: list[Any] = [
    None, True, -1, 0, 1.5, 10**40, "", "a", "main", "lab/r", "\ud800", "\0", "é/..", "a" * 5000, [], [None], {},
    {"a": 1}, [{"path": "a", "size": "x", "sample": "%%"}], [{"path": 3}], [{"oid": "a" * 64, "size": 1}],
    "refs/heads/main", "²",
]  # fmt: skip
BODIES = {
    "POST /api/repos/create": ("name", "organization", "type", "visibility", "private", "sdk"),
    "DELETE /api/repos/delete": ("name", "organization", "type"),
    "POST /api/repos/move": ("fromRepo", "toRepo", "type"),
    "POST /api/validate-yaml": ("content", "repoType"),
    "PUT {repo}/settings": ("visibility", "gated", "private"),
    "POST {repo}/preupload/main": ("files", "gitIgnore"),
    "POST {repo}/paths-info/main": ("paths", "expand"),
    "POST {repo}/branch/b": ("startingPoint",),
    "POST {repo}/tag/main": ("tag", "message"),
    "POST {repo}/super-squash/main": ("message",),
    "POST {repo}/discussions": ("title", "description", "pullRequest"),
    "POST {repo}/discussions/1/comment": ("comment",),
    "POST {repo}/discussions/1/title": ("title",),
    "POST {repo}/discussions/1/status": ("status", "comment"),
    "POST {repo}/discussions/1/merge": ("comment",),
    "POST /lab/fuzz.git/info/lfs/objects/batch": ("operation", "objects"),
    "POST /lab/fuzz.git/info/lfs/objects/verify": ("oid", "size"),
}
LINES = {
    "header": ("summary", "description", "parentCommit"),
    "file": ("path", "content", "encoding"),
    "lfsFile": ("path", "algo", "oid", "size"),
    "deletedFile": ("path",),
    "deletedFolder": ("path",),
}


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
