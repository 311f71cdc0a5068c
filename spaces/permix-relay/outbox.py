"""Dispatches to GitHub, stored on disk until GitHub has accepted them."""

import hashlib
import http.client
import json
import logging
import sqlite3
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
from huggingface_hub import HfApi
from huggingface_hub.errors import RepositoryNotFoundError

log = logging.getLogger("permix-relay")
EVENT = "hub-model-updated"
NO_CONTENT = ("README.md", "run.json", ".gitattributes")
"""Files whose change is not dispatched, like `.eval_results/`: evaluations write them."""
FIRST, LONGEST = 1.0, 300.0
"""Seconds to wait after the first failure and at most; each further failure doubles the wait."""
SECONDS = 30


class Adapters:
    """The adapters in their present state on the Hub."""

    def __init__(self, endpoint: str, token: str | None) -> None:
        self._api = HfApi(endpoint=endpoint, token=token or False, library_name="permix-relay")

    def look(self, adapter: str) -> tuple[str, str]:
        """Return the commit of an adapter's main branch and a digest of its files without card, record and results.

        The digest is "" if the adapter does not exist or is empty.
        """
        try:
            info = self._api.model_info(adapter, files_metadata=True, timeout=SECONDS)
        except RepositoryNotFoundError:
            return "", ""
        files = {f.rfilename: f.lfs.sha256 if f.lfs else f.blob_id for f in info.siblings or []}
        listed = sorted(file for file in files.items() if _is_content(file[0]))
        return str(info.sha), hashlib.sha256(json.dumps(listed).encode()).hexdigest() if listed else ""


class Outbox:
    """One row for each watched adapter: whether a check is pending, and the last dispatch."""

    def __init__(self, path: Path, watched: tuple[str, ...]) -> None:
        self._path = path
        with self._open() as sql:
            sql.execute(
                "CREATE TABLE IF NOT EXISTS adapters"
                "(name TEXT PRIMARY KEY, wanted INTEGER DEFAULT 0, content TEXT, revision TEXT, sent REAL)"
            )
            sql.executemany("INSERT OR IGNORE INTO adapters(name) VALUES (?)", [(name,) for name in watched])
            sql.execute(f"DELETE FROM adapters WHERE name NOT IN ({', '.join('?' * len(watched))})", watched)  # noqa: S608

    def want(self, adapter: str) -> None:
        """Request a check of the adapter; the growing number keeps requests that come during a check."""
        with self._open() as sql:
            sql.execute("UPDATE adapters SET wanted = abs(wanted) + 1 WHERE name = ?", (adapter,))

    def wanted(self) -> list[tuple[str, int, str | None]]:
        """(adapter, number of its request, content of its last dispatch) of the pending checks."""
        with self._open() as sql:
            return sql.execute("SELECT name, wanted, content FROM adapters WHERE wanted > 0 ORDER BY name").fetchall()

    def done(self, adapter: str, wish: int) -> None:
        """End this request; a later one stays pending."""
        with self._open() as sql:
            sql.execute("UPDATE adapters SET wanted = -wanted WHERE name = ? AND wanted = ?", (adapter, wish))

    def sent(self, adapter: str, wish: int, content: str, revision: str) -> None:
        """Store that GitHub has accepted the dispatch."""
        with self._open() as sql:
            query = "UPDATE adapters SET content = ?, revision = ?, sent = ? WHERE name = ?"
            sql.execute(query, (content, revision, time.time(), adapter))
        self.done(adapter, wish)

    def state(self) -> list[dict[str, Any]]:
        """Return every row for the page."""
        with self._open() as sql:
            rows = sql.execute("SELECT name, wanted > 0, revision, sent FROM adapters ORDER BY name").fetchall()
        return [dict(zip(("adapter", "waits", "revision", "sent"), row, strict=True)) for row in rows]

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        sql = sqlite3.connect(self._path, timeout=SECONDS)
        try:
            with sql:
                sql.execute("PRAGMA synchronous = FULL")
                yield sql
        finally:
            sql.close()


class Dispatcher(threading.Thread):
    """Check pending adapters one by one, and dispatch those with new files until GitHub accepts."""

    def __init__(self, outbox: Outbox, adapters: Adapters, github: str, repository: str, token: str) -> None:
        super().__init__(name="dispatcher", daemon=True)
        self._outbox, self._adapters = outbox, adapters
        self._url, self._token = f"{github}/repos/{repository}/dispatches", token
        self._wake, self._stopping, self._failures = threading.Event(), False, 0
        self.status = ""

    def wake(self) -> None:
        """Start a round."""
        self._wake.set()

    def stop(self) -> None:
        """End the thread."""
        self._stopping = True
        self._wake.set()

    def run(self) -> None:
        """Dispatch or wait until `stop`."""
        while not self._stopping:
            self._wake.clear()
            pause = self._round()
            if pause:
                time.sleep(pause)  # not shortened by `wake`: a flood of webhooks must not reach GitHub
            else:
                self._wake.wait()

    def _round(self) -> float:
        """Check every pending adapter; return the seconds until the next round, 0 if none is pending."""
        pause = 0.0
        for adapter, wish, before in self._outbox.wanted():
            try:
                revision, content = self._adapters.look(adapter)
                if content in ("", before):
                    self._outbox.done(adapter, wish)
                    continue
                self._dispatch(adapter, revision)
                self._outbox.sent(adapter, wish, content, revision)
                self._failures = 0
                self.status = "took the last dispatch"
                log.warning("%s@%s was sent to GitHub", adapter, revision[:12])
            except (OSError, ValueError, http.client.HTTPException, httpx2.HTTPError) as error:
                self._failures += 1
                wait = min(LONGEST, FIRST * 2 ** min(self._failures - 1, 20))
                pause = max(pause, _retry_after(error), wait)
                self.status = f"{adapter} waits: {_reason(error)}"
                log.warning("%s; again in %.0f s", self.status, pause)
        return pause

    def _dispatch(self, adapter: str, revision: str) -> None:
        body = {"event_type": EVENT, "client_payload": {"adapter": adapter, "revision": revision}}
        headers = {
            "Authorization": f"Bearer {self._token}",
            "Accept": "application/vnd.github+json",
            "Content-Type": "application/json",
            "X-GitHub-Api-Version": "2022-11-28",
            "User-Agent": "permix-relay",
        }
        request = urllib.request.Request(self._url, json.dumps(body).encode(), headers)  # noqa: S310 - the owner's address
        with urllib.request.urlopen(request, timeout=SECONDS) as answer:  # noqa: S310
            answer.read()


def _is_content(path: str) -> bool:
    return path not in NO_CONTENT and not path.startswith(".eval_results/")


def _retry_after(error: Exception) -> float:
    """The seconds in GitHub's header Retry-After."""
    if isinstance(error, urllib.error.HTTPError) and (error.headers.get("Retry-After") or "").isdigit():
        return min(3600.0, float(error.headers["Retry-After"]))
    return 0.0


def _reason(error: Exception) -> str:
    """The reason of a failure, without an address or a token."""
    if isinstance(error, urllib.error.HTTPError):
        return f"GitHub answered {error.code}"
    answer = getattr(error, "response", None)
    if answer is not None:
        return f"the Hub answered {answer.status_code}"
    return type(error).__name__
