"""Collections as the database knows them: named lists of repositories and papers."""

import re
import threading
from dataclasses import dataclass
from typing import Any

from embedded_hub.clock import now
from embedded_hub.database.accounts import Accounts, new_id

_SCHEMA = """
CREATE TABLE IF NOT EXISTS collections(id TEXT PRIMARY KEY, owner TEXT NOT NULL COLLATE NOCASE, title TEXT NOT NULL,
    description TEXT NOT NULL, private INTEGER NOT NULL, theme TEXT NOT NULL, updated TEXT NOT NULL);
CREATE UNIQUE INDEX IF NOT EXISTS collection_titles ON collections(owner, title COLLATE NOCASE);
CREATE TABLE IF NOT EXISTS collection_items(id TEXT PRIMARY KEY, collection TEXT NOT NULL, type TEXT NOT NULL,
    repo INTEGER, paper TEXT, note TEXT, position INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS items_of ON collection_items(collection);
"""
_COLUMNS = "id, owner, title, description, private, theme, updated"


@dataclass(frozen=True)
class Collection:
    """One collection; `id` stays the same when the title changes."""

    id: str
    owner: str
    title: str
    description: str
    private: bool
    theme: str
    updated: str

    @property
    def slug(self) -> str:
        """`owner/title-in-small-letters-id`, as it stands in addresses; only owner and id count."""
        words = re.sub("[^a-z0-9]+", "-", self.title.lower()).strip("-")
        return f"{self.owner}/{words}-{self.id}" if words else f"{self.owner}/{self.id}"


@dataclass(frozen=True)
class Item:
    """A repository (`repo`: its id in the database, so that it may be renamed) or a `paper` by its arXiv id."""

    id: str
    type: str
    repo: int | None
    paper: str | None
    note: str | None


class Collections:
    """The tables of collections."""

    def __init__(self, accounts: Accounts) -> None:
        self._accounts = accounts
        self._accounts.sql.executescript(_SCHEMA)
        self._lock = threading.Lock()

    def all(self) -> list[Collection]:
        """Every collection, the last changed first."""
        query = f"SELECT {_COLUMNS} FROM collections ORDER BY updated DESC, rowid DESC"  # noqa: S608
        return [_collection(row) for row in self._accounts.sql.execute(query)]

    def find(self, owner: str, slug: str) -> Collection | None:
        """The collection with that address, also by an address from before it was renamed."""
        query = f"SELECT {_COLUMNS} FROM collections WHERE owner=? AND id=?"  # noqa: S608
        row = self._accounts.sql.execute(query, (owner, slug[-24:])).fetchone()
        return _collection(row) if row else None

    def titled(self, owner: str, title: str) -> Collection | None:
        """The collection of that owner and title."""
        query = f"SELECT {_COLUMNS} FROM collections WHERE owner=? AND title=? COLLATE NOCASE"  # noqa: S608
        row = self._accounts.sql.execute(query, (owner, title)).fetchone()
        return _collection(row) if row else None

    def add(self, owner: str, title: str, description: str, private: bool) -> Collection | None:
        """Make a collection; None when the owner has one of that title."""
        made = Collection(new_id(), owner, title, description, private, "blue", now())
        values = (made.id, owner, title, description, int(private), made.theme, made.updated)
        done = self._accounts.sql.execute("INSERT OR IGNORE INTO collections VALUES (?, ?, ?, ?, ?, ?, ?)", values)
        return made if done.rowcount else None

    def change(self, one: Collection, title: str, description: str, private: bool, theme: str) -> bool:
        """Change what is said about it; False when the owner has another of that title."""
        query = "UPDATE OR IGNORE collections SET title=?, description=?, private=?, theme=?, updated=? WHERE id=?"
        values = (title, description, int(private), theme, now(), one.id)
        return self._accounts.sql.execute(query, values).rowcount > 0

    def remove(self, one: Collection) -> None:
        """Delete a collection; what is in it stays where it is."""
        self._accounts.sql.execute("DELETE FROM collections WHERE id=?", (one.id,))
        self._accounts.sql.execute("DELETE FROM collection_items WHERE collection=?", (one.id,))

    def items(self, one: Collection) -> list[Item]:
        """What is in it, in order."""
        query = "SELECT id, type, repo, paper, note FROM collection_items WHERE collection=? ORDER BY position"
        return [Item(*row) for row in self._accounts.sql.execute(query, (one.id,))]

    def add_item(self, one: Collection, item: Item) -> bool:
        """Put an item at the end; False when it is in there already."""
        with self._lock:
            items = self.items(one)
            if (item.type, item.repo, item.paper) in {(old.type, old.repo, old.paper) for old in items}:
                return False
            last = "SELECT coalesce(max(position) + 1, 0) FROM collection_items WHERE collection=?"
            query = f"INSERT INTO collection_items VALUES (?, ?, ?, ?, ?, ?, ({last}))"  # noqa: S608
            values = (item.id, one.id, item.type, item.repo, item.paper, item.note, one.id)
            self._accounts.sql.execute(query, values)
            self._touch(one)
            return True

    def change_item(self, one: Collection, item: Item, note: str | None, position: int | None) -> None:
        """Change an item's note or its place."""
        with self._lock:
            if note is not None:
                self._accounts.sql.execute("UPDATE collection_items SET note=? WHERE id=?", (note, item.id))
            if position is not None:
                order = [old.id for old in self.items(one) if old.id != item.id]
                order.insert(position, item.id)
                query = "UPDATE collection_items SET position=? WHERE id=?"
                self._accounts.sql.executemany(query, list(enumerate(order)))
            self._touch(one)

    def remove_item(self, one: Collection, item: Item) -> None:
        """Take an item out."""
        self._accounts.sql.execute("DELETE FROM collection_items WHERE id=?", (item.id,))
        self._touch(one)

    def _touch(self, one: Collection) -> None:
        self._accounts.sql.execute("UPDATE collections SET updated=? WHERE id=?", (now(), one.id))


def _collection(row: tuple[Any, ...]) -> Collection:
    id_, owner, title, description, private, theme, updated = row
    return Collection(id_, owner, title, description, bool(private), theme, updated)
