"""The tables of discussions and pull requests; a pull request's content is its ref `refs/pr/N`."""

import threading
from dataclasses import dataclass
from typing import Any, Literal

from embedded_hub.clock import now
from embedded_hub.database.connection import Database, new_id

Status = Literal["draft", "open", "closed", "merged"]


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
        self.opening = threading.Lock()
        """Held while a number is chosen, its ref created and its row entered."""

    def last(self, repo: int) -> int:
        """Return the highest number in use."""
        return int(self._database.first("SELECT max(num) FROM discussions WHERE repo=?", repo) or 0)

    def add(self, discussion: Discussion) -> None:
        """Enter a discussion."""
        self._database.insert("discussions", discussion)

    def get(self, repo: int, num: int) -> Discussion | None:
        """Return one discussion."""
        return self._database.find(Discussion, "discussions", "repo=? AND num=?", repo, num)

    def all(self, repo: int) -> list[Discussion]:
        """Return all discussions of a repository, the newest first."""
        return self._database.select(Discussion, "discussions", "repo=? ORDER BY num DESC", repo)

    def set_title(self, discussion: Discussion, title: str) -> None:
        """Change the title."""
        query = "UPDATE discussions SET title=? WHERE repo=? AND num=?"
        self._database.run(query, title, discussion.repo, discussion.num)

    def set_status(self, discussion: Discussion, status: Status, merged: str | None = None) -> None:
        """Change the status; `merged` is the merge commit."""
        query = "UPDATE discussions SET status=?, merged=? WHERE repo=? AND num=?"
        self._database.run(query, status, merged, discussion.repo, discussion.num)

    def add_event(self, discussion: Discussion, type_: str, author: str, data: dict[str, Any]) -> Event:
        """Enter an event."""
        event = Event(new_id(), type_, author, now(), data)
        self._database.insert("discussion_events", event, repo=discussion.repo, num=discussion.num)
        return event

    def events(self, discussion: Discussion) -> list[Event]:
        """Return the events other than commits, in order."""
        condition = "repo=? AND num=? ORDER BY rowid"
        return self._database.select(Event, "discussion_events", condition, discussion.repo, discussion.num)

    def remove_all(self, repo: int) -> None:
        """Delete all discussions of a repository."""
        for table in ("discussions", "discussion_events"):
            self._database.delete(table, "repo", repo)
