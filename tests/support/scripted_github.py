"""A stand-in for GitHub's API on loopback: it records dispatches, and fails as it is dispatch."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

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

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            status, headers = github.answer(self.path, self.headers["Authorization"], body)
            if not status:
                self.close_connection = True
                return
            self.send_response(status)
            for name, value in {"Content-Length": "0", **headers}.items():
                self.send_header(name, value)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    github.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield github
    finally:
        server.shutdown()
        server.server_close()
