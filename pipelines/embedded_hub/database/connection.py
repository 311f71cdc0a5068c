"""The SQLite file of a data directory: connections, transactions, rows as dataclasses, and random settings."""

import json
import secrets
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar, cast, get_args, get_origin

_SCHEMA = Path(__file__).with_name("schema.sql")
Row = TypeVar("Row")


class Database:
    """One SQLite file; safe to use from many threads and processes."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._local = threading.local()
        path.touch(0o600)  # holds secrets of webhooks, Jobs and Spaces; SQLite gives its other files the same mode
        path.chmod(0o600)
        self.sql.executescript(_SCHEMA.read_text(encoding="utf-8"))

    @property
    def sql(self) -> sqlite3.Connection:
        """This thread's connection."""
        if not hasattr(self._local, "connection"):
            connection = sqlite3.connect(self._path, timeout=30, isolation_level=None)
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")
            self._local.connection = connection
        return cast(sqlite3.Connection, self._local.connection)

    def run(self, query: str, *values: Any) -> sqlite3.Cursor:
        """Execute one statement with the values of its question marks."""
        return self.sql.execute(query, values)

    def first(self, query: str, *values: Any) -> Any:
        """Return the first column of the first row of a query; None without a row."""
        row = self.run(query, *values).fetchone()
        return row[0] if row else None

    def select(self, row_type: type[Row], table: str, condition: str, *values: Any) -> list[Row]:
        """Return the rows of a table that meet `condition`, which may end with an order."""
        columns = _columns(row_type)
        query = f"SELECT {', '.join(columns)} FROM {table} WHERE {condition}"  # noqa: S608
        rows = self.run(query, *values).fetchall()
        return [row_type(*(decode(value) for decode, value in zip(columns.values(), row, strict=True))) for row in rows]

    def find(self, row_type: type[Row], table: str, condition: str, *values: Any) -> Row | None:
        """Return the first of these rows; None without one."""
        return next(iter(self.select(row_type, table, condition, *values)), None)

    def insert(self, table: str, row: Any, conflict: str = "", **more: Any) -> bool:
        """Enter a row and its columns `more`; return whether the table has changed. `conflict` ends the statement."""
        values = {name: _encoded(getattr(row, name), decode) for name, decode in _columns(type(row)).items()} | more
        query = f"INSERT INTO {table}({', '.join(values)}) VALUES ({', '.join('?' * len(values))}) {conflict}"  # noqa: S608
        return self.run(query, *values.values()).rowcount > 0

    def delete(self, table: str, column: str, value: Any) -> bool:
        """Delete the rows with this value; return whether there was one."""
        return self.run(f"DELETE FROM {table} WHERE {column}=?", value).rowcount > 0  # noqa: S608

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
        self.run("INSERT OR IGNORE INTO settings VALUES (?, ?)", key, secrets.token_hex(32))
        return str(self.first("SELECT value FROM settings WHERE key=?", key))

    def close(self) -> None:
        """Close this thread's connection."""
        with suppress(AttributeError):
            self._local.connection.close()
            del self._local.connection


def new_id() -> str:
    """Return a random id of 24 hex digits, as the Hub's objects have."""
    return secrets.token_hex(12)


def _columns(row_type: Any) -> dict[str, Callable[[Any], Any]]:
    """Return the columns of a dataclass and how each is read: objects and tuples are stored as JSON."""
    return {field.name: _decoder(field.type) for field in fields(row_type)}


def _decoder(type_: Any) -> Callable[[Any], Any]:
    is_json = any(get_origin(part) in (dict, tuple) for part in (type_, *get_args(type_)))
    return _from_json if is_json else bool if type_ is bool else lambda value: value


def _from_json(text: str) -> Any:
    return _without_lists(json.loads(text))


def _without_lists(value: Any) -> Any:
    return tuple(map(_without_lists, value)) if isinstance(value, list) else value


def _encoded(value: Any, decode: Callable[[Any], Any]) -> Any:
    return json.dumps(value) if decode is _from_json else value
