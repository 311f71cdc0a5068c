"""Servers that answer as they are told, and the end of an embedded Hub. Needs nothing of permix."""

import hmac
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from embedded_hub import launch
from embedded_hub.database.accounts import Accounts
from embedded_hub.database.connection import Database

Answer = tuple[int, str, dict[str, str]]


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


def stop(root: Path, how: signal.Signals = signal.SIGTERM) -> None:
    """End the server of `root`, and wait until it is gone."""
    try:
        pid = json.loads((root / "server.json").read_text())["pid"]
        os.kill(pid, how)
    except (FileNotFoundError, ProcessLookupError):
        return
    deadline = time.monotonic() + 20
    while launch.held(root / "server.lock"):
        assert time.monotonic() < deadline, "the server does not stop"
        time.sleep(0.01)


@contextmanager
def accounts_of(root: Path) -> Iterator[Accounts]:
    """The users and tokens of an embedded Hub, also while it runs."""
    with closing(Database(root / "hub.db")) as database:
        yield Accounts(database)


def signature(root: Path, text: str) -> str:
    """The signature of `text` that only the Hub of this data directory makes."""
    with closing(Database(root / "hub.db")) as database:
        return hmac.new(bytes.fromhex(database.setting("signing secret")), text.encode(), "sha256").hexdigest()
