"""Servers that answer as they are told, and the end of an embedded Hub. Needs nothing of permix."""

import hmac
import json
import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from embedded_hub import launch
from embedded_hub.database.accounts import Accounts
from embedded_hub.database.connection import Database
from tests.support.waiting import wait_until

Answer = tuple[int, str, dict[str, str]]


@contextmanager
def listening(answer: Callable[[BaseHTTPRequestHandler], None]) -> Iterator[str]:
    """A server on loopback that passes every request to `answer`; its address."""
    methods: dict[str, Any] = dict.fromkeys(("do_GET", "do_HEAD", "do_POST", "do_PUT"), answer)
    handler = type("Handler", (BaseHTTPRequestHandler,), methods | {"log_message": lambda *_: None})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def reply(request: BaseHTTPRequestHandler, status: int, headers: Mapping[str, str], body: bytes = b"") -> None:
    """Send an answer."""
    request.send_response(status)
    for name, value in {"Content-Length": str(len(body)), **headers}.items():
        request.send_header(name, value)
    request.end_headers()
    request.wfile.write(body)


@contextmanager
def answering(answer: Callable[[str], Answer]) -> Iterator[tuple[str, list[tuple[str, str | None]]]]:
    """A server that answers `answer(path)` to everything; yields its address and the (path, Authorization) it saw."""
    seen: list[tuple[str, str | None]] = []

    def look_up(request: BaseHTTPRequestHandler) -> None:
        seen.append((request.path, request.headers["Authorization"]))
        status, body, headers = answer(request.path)
        reply(request, status, headers, body.encode())

    with listening(look_up) as url:
        yield url, seen


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
    wait_until(lambda: not launch.held(root / "server.lock"), every=0.02)


@contextmanager
def accounts_of(root: Path) -> Iterator[Accounts]:
    """The users and tokens of an embedded Hub, also while it runs."""
    with closing(Database(root / "hub.db")) as database:
        yield Accounts(database)


def signature(root: Path, text: str) -> str:
    """The signature of `text` that only the Hub of this data directory makes."""
    with closing(Database(root / "hub.db")) as database:
        return hmac.new(bytes.fromhex(database.setting("signing secret")), text.encode(), "sha256").hexdigest()
