"""A stand-in for GitHub's API on loopback: it records dispatches, and fails as it is dispatch."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any

from tests.support.servers import listening, reply

TOKEN = "ghp_0123456789abcdefghijklmnop"
LOST: tuple[int, dict[str, str]] = (0, {})
"""In place of an answer: the dispatch was taken, and the connection broke."""


@dataclass
class GitHub:
    """`taken` holds (path, payload) of the dispatches that it took; `failing` the next answers, where LOST is none."""

    url: str = ""
    taken: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    failing: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    requests: int = 0
    lost: int = 0
    changed: threading.Condition = field(default_factory=threading.Condition)

    @property
    def evaluations(self) -> list[tuple[str, str]]:
        """(adapter, revision) of every dispatch."""
        return [(body["client_payload"]["adapter"], body["client_payload"]["revision"]) for _, body in self.taken]

    def wait_for(self, count: int) -> None:
        """Return when so many dispatches were taken."""
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.taken) >= count, 60), self.taken

    def answer(self, path: str, authorization: str, body: bytes) -> tuple[int, dict[str, str]]:
        """As https://docs.github.com/rest/repos/repos#create-a-repository-dispatch-event says."""
        with self.changed:
            self.requests += 1
            self.changed.notify_all()
            failure = self.failing.pop(0) if self.failing else None
            if failure and failure != LOST:
                return failure
            if authorization != f"Bearer {TOKEN}":
                return 401, {}
            dispatch = json.loads(body)
            if len(dispatch["event_type"]) > 100 or len(dispatch["client_payload"]) > 10:
                return 422, {}
            self.taken.append((path, dispatch))
            self.lost += failure == LOST
            return failure or (204, {})


@contextmanager
def serve() -> Iterator[GitHub]:
    """A stand-in that answers."""
    github = GitHub()

    def dispatched(request: BaseHTTPRequestHandler) -> None:
        body = request.rfile.read(int(request.headers["Content-Length"]))
        status, headers = github.answer(request.path, request.headers["Authorization"], body)
        if status:
            reply(request, status, headers)
        else:
            request.close_connection = True

    with listening(dispatched) as github.url:
        yield github
