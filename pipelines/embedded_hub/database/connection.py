"""The SQLite file of a data directory: connections, transactions and random settings."""

import secrets
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import cast

_SETTINGS = "CREATE TABLE IF NOT EXISTS settings(key TEXT PRIMARY KEY, value TEXT NOT NULL)"


class Database:
    """One SQLite file; safe to use from many threads and processes."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._local = threading.local()
        path.touch(0o600)  # holds secrets of webhooks, Jobs and Spaces; SQLite gives its other files the same mode
        path.chmod(0o600)
        self.sql.execute(_SETTINGS)

    @property
    def sql(self) -> sqlite3.Connection:
        """This thread's connection."""
        if not hasattr(self._local, "connection"):
            connection = sqlite3.connect(self._path, timeout=30, isolation_level=None)
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")
            self._local.connection = connection
        return cast(sqlite3.Connection, self._local.connection)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit this thread's changes all at once or not at all; a nested transaction joins the outer one."""
        sql = self.sql
        if sql.in_transaction:
            yield
            return
        sql.execute("BEGIN IMMEDIATE")
        self._local.callbacks = []
        try:
            yield
        except BaseException:
            sql.execute("ROLLBACK")
            raise
        sql.execute("COMMIT")
        for callback in self._local.callbacks:
            callback()

    def after_commit(self, callback: Callable[[], None]) -> None:
        """Call `callback` once others can see this thread's transaction; at once when none is open."""
        if self.sql.in_transaction:
            self._local.callbacks.append(callback)
        else:
            callback()

    def setting(self, key: str) -> str:
        """Return the random value of `key`, created on first use."""
        self.sql.execute("INSERT OR IGNORE INTO settings VALUES (?, ?)", (key, secrets.token_hex(32)))
        return str(self.sql.execute("SELECT value FROM settings WHERE key=?", (key,)).fetchone()[0])

    def close(self) -> None:
        """Close this thread's connection."""
        with suppress(AttributeError):
            self._local.connection.close()
            del self._local.connection


def new_id() -> str:
    """Return a random id of 24 hex digits, as the Hub's objects have."""
    return secrets.token_hex(12)
