"""Answers of paid endpoints, stored on this machine for every stage and run."""

import hashlib
import json
import sqlite3
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict

from permix import files
from permix.sampling.sampler import Completion, Endpoint, Request


class Cache:
    """SQLite: sha256 of (url, model, messages, sampling, seed) -> text, token counts, finish, the model's own name.

    A journal belongs to one set of requests and is deleted with its work folder. The cache stays: a request that any
    stage or run has paid for is answered from it. Only endpoints with a key are cached, because a local server
    (`localhost:8000`) may serve another model under the same name later. Errors are not stored. A cache that cannot be
    read or written costs money, but the run continues.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        """Open the cache of a paid endpoint."""
        self._server = [endpoint.url.rstrip("/"), endpoint.model]
        self._database: sqlite3.Connection | None = None
        if not endpoint.key:
            return
        path = files.home() / "cache" / "endpoint.sqlite"
        with suppress(sqlite3.Error, OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            # The event loop reads, the writer's thread writes.
            database = sqlite3.connect(path, timeout=30, check_same_thread=False)
            database.execute("PRAGMA journal_mode = WAL")
            database.execute("PRAGMA synchronous = NORMAL")
            database.execute("CREATE TABLE IF NOT EXISTS answers (request BLOB PRIMARY KEY, answer TEXT) WITHOUT ROWID")
            self._database = database

    def get(self, request: Request) -> Completion | None:
        """Return the stored completion of an equal request, or None."""
        if self._database is None:
            return None
        try:
            row = self._database.execute(
                "SELECT answer FROM answers WHERE request = ?", (self._key(request),)
            ).fetchone()
        except sqlite3.Error:
            return None
        return Completion(id=request.id, adapter_digest="", **json.loads(row[0])) if row else None

    def put(self, pairs: Iterable[tuple[Request, Completion]]) -> None:
        """Store finished completions."""
        if self._database is not None:
            rows = [(self._key(request), json.dumps(_answer(completion))) for request, completion in pairs]
            with suppress(sqlite3.Error), self._database:
                self._database.executemany("INSERT OR REPLACE INTO answers VALUES (?, ?)", rows)

    def close(self) -> None:
        """Close the file."""
        if self._database is not None:
            self._database.close()

    def _key(self, request: Request) -> bytes:
        identity = [*self._server, request.messages, asdict(request.sampling), request.seed]
        return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).digest()


def _answer(completion: Completion) -> dict[str, str | int]:
    return {k: v for k, v in asdict(completion).items() if k not in ("id", "adapter_digest")}
