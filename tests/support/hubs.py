"""Hubs for tests: the embedded one, shared by all tests of a process, and servers that answer as they are told."""

import atexit
import functools
import json
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from embedded_hub import launch
from permix.publishing.hub import Hub

Answer = tuple[int, str, dict[str, str]]


@functools.cache
def _running() -> launch.Running:
    found = launch.attach(Path(os.environ["PERMIX_HOME"]) / "hub", port=0)
    atexit.register(_stop)
    return found


def _stop() -> None:
    for server in launch._started:
        server.terminate()
        server.wait()


def embedded(cache: Path) -> Hub:
    """The embedded Hub of this test process, seen through a cache of one's own."""
    found = _running()
    return Hub(found.url, found.token, cache, embedded=True)


@contextmanager
def answering(answer: Callable[[str], Answer]) -> Iterator[tuple[str, list[tuple[str, str | None]]]]:
    """A server that answers `answer(path)` to everything; yields its address and the (path, Authorization) it saw."""
    seen: list[tuple[str, str | None]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append((self.path, self.headers["Authorization"]))
            status, body, headers = answer(self.path)
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body.encode())

        do_HEAD = do_POST = do_PUT = do_GET  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", seen
    finally:
        server.shutdown()
        server.server_close()


def error(status: int, message: str = "") -> Answer:
    """A Hub's answer with this status."""
    return status, json.dumps({"error": message}), {"Content-Type": "application/json"}
