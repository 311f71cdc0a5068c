"""Answers of paid endpoints, kept on this machine for every stage and run, by the whole request."""

import hashlib
import json
import sqlite3
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict
from typing import Any

from permix import files
from permix.sampling.sampler import Completion, Endpoint, Request

Answer = dict[str, Any]


class Cache:
    """SQLite: sha256 of (url, model, messages, sampling, seed) -> text, token counts, finish, the model's own name.

    The journal says how far one call came, belongs to one set of requests and goes with its work folder; it is what
    makes a killed call go on. The cache outlives both: a request that any stage or run has paid for is answered from
    here, free of charge. Only endpoints with a key are cached: behind an address without an account, `localhost:8000`
    say, the same name is another model tomorrow. Errors are never stored. A cache that cannot be read or written
    costs money but never the run.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        """Open it where endpoints of this kind are cached."""
        self._whose = [endpoint.url.rstrip("/"), endpoint.model]
        self._base: sqlite3.Connection | None = None
        if not endpoint.key:
            return
        path = files.home() / "cache" / "endpoint.sqlite"
        with suppress(sqlite3.Error, OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            base = sqlite3.connect(path, timeout=30, check_same_thread=False)  # read by the loop, written by the keeper
            base.execute("PRAGMA journal_mode = WAL")
            base.execute("PRAGMA synchronous = NORMAL")
            base.execute("CREATE TABLE IF NOT EXISTS answers (request BLOB PRIMARY KEY, answer TEXT) WITHOUT ROWID")
            self._base = base

    def get(self, request: Request) -> Completion | None:
        """The completion that the same request got before."""
        if self._base is None:
            return None
        try:
            row = self._base.execute("SELECT answer FROM answers WHERE request = ?", (self._key(request),)).fetchone()
        except sqlite3.Error:
            return None
        return Completion(id=request.id, adapter_digest="", **json.loads(row[0])) if row else None

    def put(self, pairs: Iterable[tuple[Request, Completion]]) -> None:
        """Keep finished completions."""
        if self._base is not None:
            rows = [(self._key(request), json.dumps(_answer(completion))) for request, completion in pairs]
            with suppress(sqlite3.Error), self._base:
                self._base.executemany("INSERT OR REPLACE INTO answers VALUES (?, ?)", rows)

    def close(self) -> None:
        """Close the file."""
        if self._base is not None:
            self._base.close()

    def _key(self, request: Request) -> bytes:
        whole = [*self._whose, request.messages, asdict(request.sampling), request.seed]
        return hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).digest()


def _answer(completion: Completion) -> Answer:
    return {k: v for k, v in asdict(completion).items() if k not in ("id", "adapter_digest")}
