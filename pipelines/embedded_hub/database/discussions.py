"""The tables of discussions and pull requests; a pull request's content is its ref `refs/pr/N`."""

import json
import threading
from dataclasses import dataclass
from typing import Any, Literal

from embedded_hub.clock import now
from embedded_hub.database.connection import Database, new_id

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
    """One discussion. A pull request has a `base` (its target branch) and a `start` (the commit where it began)."""

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
        """The ref of a pull request's commits."""
        return f"refs/pr/{self.num}"


@dataclass(frozen=True)
class Event:
    """An event of a discussion; `data` as clients read it."""

    id: str
    type: str
    author: str
    created: str
    data: dict[str, Any]


class Discussions:
    """The tables of discussions."""

    def __init__(self, database: Database) -> None:
        self._database = database
        database.sql.executescript(_SCHEMA)
        self.opening = threading.Lock()
        """Held while a number is chosen, its ref created and its row entered."""

    def last(self, repo: int) -> int:
        """Return the highest number in use."""
        row = self._database.sql.execute("SELECT max(num) FROM discussions WHERE repo=?", (repo,)).fetchone()
        return int(row[0] or 0)

    def add(self, discussion: Discussion) -> None:
        """Enter a discussion."""
        values = [getattr(discussion, name) for name in _COLUMNS.split(", ")]
        self._database.sql.execute(f"INSERT INTO discussions VALUES ({', '.join('?' * len(values))})", values)  # noqa: S608

    def get(self, repo: int, num: int) -> Discussion | None:
        """Return one discussion."""
        query = f"SELECT {_COLUMNS} FROM discussions WHERE repo=? AND num=?"  # noqa: S608
        row = self._database.sql.execute(query, (repo, num)).fetchone()
        return Discussion(*row) if row else None

    def all(self, repo: int) -> list[Discussion]:
        """Return all discussions of a repository, the newest first."""
        query = f"SELECT {_COLUMNS} FROM discussions WHERE repo=? ORDER BY num DESC"  # noqa: S608
        return [Discussion(*row) for row in self._database.sql.execute(query, (repo,))]

    def set_title(self, discussion: Discussion, title: str) -> None:
        """Change the title."""
        query = "UPDATE discussions SET title=? WHERE repo=? AND num=?"
        self._database.sql.execute(query, (title, discussion.repo, discussion.num))

    def set_status(self, discussion: Discussion, status: Status, merged: str | None = None) -> None:
        """Change the status; `merged` is the merge commit."""
        query = "UPDATE discussions SET status=?, merged=? WHERE repo=? AND num=?"
        self._database.sql.execute(query, (status, merged, discussion.repo, discussion.num))

    def add_event(self, discussion: Discussion, type_: str, author: str, data: dict[str, Any]) -> Event:
        """Enter an event."""
        event = Event(new_id(), type_, author, now(), data)
        values = (event.id, discussion.repo, discussion.num, type_, author, event.created, json.dumps(data))
        self._database.sql.execute("INSERT INTO discussion_events VALUES (?, ?, ?, ?, ?, ?, ?)", values)
        return event

    def events(self, discussion: Discussion) -> list[Event]:
        """Return the events other than commits, in order."""
        query = "SELECT id, type, author, created, data FROM discussion_events WHERE repo=? AND num=? ORDER BY rowid"
        rows = self._database.sql.execute(query, (discussion.repo, discussion.num))
        return [Event(id_, type_, author, created, json.loads(data)) for id_, type_, author, created, data in rows]

    def remove_all(self, repo: int) -> None:
        """Delete all discussions of a repository."""
        for table in ("discussions", "discussion_events"):
            self._database.sql.execute(f"DELETE FROM {table} WHERE repo=?", (repo,))  # noqa: S608
