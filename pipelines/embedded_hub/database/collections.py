"""The tables of collections: named lists of repositories and papers."""

import re
import threading
from dataclasses import dataclass

from embedded_hub.clock import now
from embedded_hub.database.connection import Database, new_id


@dataclass(frozen=True)
class Collection:
    """One collection; `id` survives a change of the title."""

    id: str
    owner: str
    title: str
    description: str
    private: bool
    theme: str
    updated: str

    @property
    def slug(self) -> str:
        """`owner/title-in-small-letters-id` in addresses; only owner and id are read."""
        words = re.sub("[^a-z0-9]+", "-", self.title.lower()).strip("-")
        return f"{self.owner}/{words}-{self.id}" if words else f"{self.owner}/{self.id}"


@dataclass(frozen=True)
class Item:
    """A repository (`repo` is its database id, so that it may be renamed) or a `paper` by its arXiv id."""

    id: str
    type: str
    repo: int | None
    paper: str | None
    note: str | None


class Collections:
    """The tables of collections."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.Lock()

    def all(self) -> list[Collection]:
        """Return every collection, the last changed first."""
        return self._database.select(Collection, "collections", "TRUE ORDER BY updated DESC, rowid DESC")

    def find(self, owner: str, slug: str) -> Collection | None:
        """Return the collection of that address, which may have an earlier title."""
        return self._database.find(Collection, "collections", "owner=? AND id=?", owner, slug[-24:])

    def titled(self, owner: str, title: str) -> Collection | None:
        """Return the collection of that owner and title."""
        condition = "owner=? AND title=? COLLATE NOCASE"
        return self._database.find(Collection, "collections", condition, owner, title)

    def add(self, owner: str, title: str, description: str, private: bool) -> Collection | None:
        """Create a collection; None if the owner has one of that title."""
        collection = Collection(new_id(), owner, title, description, private, "blue", now())
        return collection if self._database.insert("collections", collection, "ON CONFLICT DO NOTHING") else None

    def change(self, collection: Collection, title: str, description: str, private: bool, theme: str) -> bool:
        """Change a collection; return False if the owner has another of that title."""
        query = "UPDATE OR IGNORE collections SET title=?, description=?, private=?, theme=?, updated=? WHERE id=?"
        return self._database.run(query, title, description, private, theme, now(), collection.id).rowcount > 0

    def remove(self, collection: Collection) -> None:
        """Delete a collection, but not the repositories in it."""
        self._database.delete("collections", "id", collection.id)
        self._database.delete("collection_items", "collection", collection.id)

    def items(self, collection: Collection) -> list[Item]:
        """Return the items in order."""
        return self._database.select(Item, "collection_items", "collection=? ORDER BY position", collection.id)

    def add_item(self, collection: Collection, item: Item) -> bool:
        """Append an item; return False if it is in the collection already."""
        with self._lock:
            items = self.items(collection)
            if (item.type, item.repo, item.paper) in {(other.type, other.repo, other.paper) for other in items}:
                return False
            last = self._database.first("SELECT max(position) FROM collection_items WHERE collection=?", collection.id)
            position = 0 if last is None else last + 1
            self._database.insert("collection_items", item, collection=collection.id, position=position)
            self._touch(collection)
            return True

    def change_item(self, collection: Collection, item: Item, note: str | None, position: int | None) -> None:
        """Change an item's note or position."""
        with self._lock:
            if note is not None:
                self._database.run("UPDATE collection_items SET note=? WHERE id=?", note, item.id)
            if position is not None:
                order = [old.id for old in self.items(collection) if old.id != item.id]
                order.insert(position, item.id)
                query = "UPDATE collection_items SET position=? WHERE id=?"
                self._database.sql.executemany(query, list(enumerate(order)))
            self._touch(collection)

    def remove_item(self, collection: Collection, item: Item) -> None:
        """Remove an item."""
        self._database.delete("collection_items", "id", item.id)
        self._touch(collection)

    def _touch(self, collection: Collection) -> None:
        self._database.run("UPDATE collections SET updated=? WHERE id=?", now(), collection.id)
