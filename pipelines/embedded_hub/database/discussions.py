"""Discussions and pull requests as the database knows them; the content of a pull request is its ref `refs/pr/N`."""

import json
import threading
from dataclasses import dataclass
from typing import Any, Literal

from embedded_hub.clock import now
from embedded_hub.database.accounts import Accounts, new_id

Status = Literal["draft", "open", "closed", "merged"]

_SCHEMA = """
CREATE TABLE IF NOT EXISTS discussions(repo INTEGER NOT NULL, num INTEGER NOT NULL, title TEXT NOT NULL,
    author TEXT NOT NULL, created TEXT NOT NULL, status TEXT NOT NULL, base TEXT, start TEXT, merged TEXT,
    PRIMARY KEY(repo, num)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS discussion_events(id TEXT PRIMARY KEY, repo INTEGER NOT NULL, num INTEGER NOT NULL,
    type TEXT NOT NULL, author TEXT NOT NULL, created TEXT NOT NULL, data TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS events_of ON discussion_events(repo, num);
"""
_COLUMNS = "repo, num, title, author, created, status, base, start, merged"


@dataclass(frozen=True)
class Discussion:
    """One discussion. A pull request has a `base` (the branch it is for) and a `start` (the commit it began at)."""

    repo: int
    num: int
    title: str
    author: str
    created: str
    status: Status
    base: str | None
    start: str | None
    merged: str | None

    @property
    def ref(self) -> str:
        """Where the commits of a pull request are."""
        return f"refs/pr/{self.num}"


@dataclass(frozen=True)
class Event:
    """Something that happened in a discussion; `data` as the Hub's clients read it."""

    id: str
    type: str
    author: str
    created: str
    data: dict[str, Any]


class Discussions:
    """The tables of discussions."""

    def __init__(self, accounts: Accounts) -> None:
        self._accounts = accounts
        self._accounts.sql.executescript(_SCHEMA)
        self.opening = threading.Lock()
        """Held while a number is found, its ref made, and the row entered."""

    def last(self, repo: int) -> int:
        """The highest number in use."""
        found = self._accounts.sql.execute("SELECT max(num) FROM discussions WHERE repo=?", (repo,)).fetchone()
        return int(found[0] or 0)

    def add(self, new: Discussion) -> None:
        """Enter a discussion: from now on it exists."""
        values = [getattr(new, name) for name in _COLUMNS.split(", ")]
        self._accounts.sql.execute(f"INSERT INTO discussions VALUES ({', '.join('?' * len(values))})", values)  # noqa: S608

    def get(self, repo: int, num: int) -> Discussion | None:
        """One discussion."""
        query = f"SELECT {_COLUMNS} FROM discussions WHERE repo=? AND num=?"  # noqa: S608
        row = self._accounts.sql.execute(query, (repo, num)).fetchone()
        return Discussion(*row) if row else None

    def all(self, repo: int) -> list[Discussion]:
        """All discussions of a repository, the newest first."""
        query = f"SELECT {_COLUMNS} FROM discussions WHERE repo=? ORDER BY num DESC"  # noqa: S608
        return [Discussion(*row) for row in self._accounts.sql.execute(query, (repo,))]

    def set_title(self, one: Discussion, title: str) -> None:
        """Give it another title."""
        query = "UPDATE discussions SET title=? WHERE repo=? AND num=?"
        self._accounts.sql.execute(query, (title, one.repo, one.num))

    def set_status(self, one: Discussion, status: Status, merged: str | None = None) -> None:
        """Open it, close it, or note the commit that merged it."""
        query = "UPDATE discussions SET status=?, merged=? WHERE repo=? AND num=?"
        self._accounts.sql.execute(query, (status, merged, one.repo, one.num))

    def note(self, one: Discussion, type_: str, author: str, data: dict[str, Any]) -> Event:
        """Enter an event."""
        made = Event(new_id(), type_, author, now(), data)
        values = (made.id, one.repo, one.num, type_, author, made.created, json.dumps(data))
        self._accounts.sql.execute("INSERT INTO discussion_events VALUES (?, ?, ?, ?, ?, ?, ?)", values)
        return made

    def events(self, one: Discussion) -> list[Event]:
        """What happened, in order, besides commits."""
        query = "SELECT id, type, author, created, data FROM discussion_events WHERE repo=? AND num=? ORDER BY rowid"
        rows = self._accounts.sql.execute(query, (one.repo, one.num))
        return [Event(id_, type_, author, created, json.loads(data)) for id_, type_, author, created, data in rows]

    def forget(self, repo: int) -> None:
        """Strike out all discussions of a repository."""
        for table in ("discussions", "discussion_events"):
            self._accounts.sql.execute(f"DELETE FROM {table} WHERE repo=?", (repo,))  # noqa: S608
