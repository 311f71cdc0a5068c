"""Edits to a git tree: the only way content changes."""

import stat
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from dulwich.objects import Blob, Tree

FILE = stat.S_IFREG | 0o644
FOLDER = stat.S_IFDIR
Entries = dict[bytes, tuple[int, bytes]]
"""One git tree: name -> (mode, oid)."""


class CannotEdit(Exception):
    """The edit does not fit the tree."""


class NoSuchPath(CannotEdit):
    """The file or folder to be deleted does not exist."""


@dataclass(frozen=True)
class Put:
    """Write a file."""

    path: str
    content: bytes


@dataclass(frozen=True)
class Delete:
    """Remove a file, or a folder with its content."""

    path: str
    folder: bool = False


Edit = Put | Delete


@dataclass
class _Folder:
    load: Callable[[bytes], Entries]
    entries: Entries
    open: dict[bytes, "_Folder"] = field(default_factory=dict)

    def down(self, name: bytes, create: bool) -> "_Folder | None":
        """Return the folder `name`; None for a file, or for a missing folder unless `create`."""
        if name not in self.open:
            mode, oid = self.entries.get(name, (0, b""))
            if not (stat.S_ISDIR(mode) if mode else create):
                return None
            self.open[name] = _Folder(self.load, dict(self.load(oid)) if mode else {})
            self.entries.setdefault(name, (FOLDER, b""))
        return self.open[name]

    def save(self, new: dict[bytes, Any]) -> bytes | None:
        """Write changed folders into `new` and return the oid; None for an empty folder."""
        for name, folder in self.open.items():
            oid = folder.save(new)
            if oid is None:
                self.entries.pop(name, None)
            else:
                self.entries[name] = (FOLDER, oid)
        tree = Tree()
        for name, (mode, oid) in self.entries.items():
            tree.add(name, mode, oid)
        new[tree.id] = tree
        return bytes(tree.id) if self.entries else None


def apply(root: bytes, edits: Iterable[Edit], load: Callable[[bytes], Entries]) -> tuple[bytes, dict[bytes, Any]]:
    """Apply `edits` in order to the tree `root`; return the new tree's oid and all objects that it may need.

    `load` reads one tree. CannotEdit if a file would replace a folder, or a folder a file.
    """
    top = _Folder(load, dict(load(root)))
    new: dict[bytes, Any] = {}
    for edit in edits:
        *parents, name = edit.path.encode().split(b"/")
        if isinstance(edit, Put):
            blob = Blob.from_string(edit.content)
            new[blob.id] = blob
            _put(top, parents, name, blob.id, edit.path)
        else:
            _delete(top, parents, name, edit)
    oid = top.save(new)
    return oid or bytes(Tree().id), new


def _put(folder: _Folder, parents: list[bytes], name: bytes, oid: bytes, path: str) -> None:
    for depth, parent in enumerate(parents):
        deeper = folder.down(parent, create=True)
        if deeper is None:
            raise CannotEdit(f"{path!r} needs a folder where the file {b'/'.join(parents[: depth + 1]).decode()!r} is.")
        folder = deeper
    mode, _ = folder.entries.get(name, (0, b""))
    if stat.S_ISDIR(mode):
        if name not in folder.open or _any_left(folder.open[name]):
            raise CannotEdit(f"{path!r} is a folder, so no file can be written there.")
        del folder.open[name]
    folder.entries[name] = (mode if stat.S_ISREG(mode) else FILE, oid)


def _any_left(folder: _Folder) -> bool:
    return any(name not in folder.open or _any_left(folder.open[name]) for name in folder.entries)


def _delete(folder: _Folder, parents: list[bytes], name: bytes, edit: Delete) -> None:
    missing = NoSuchPath(f"A {'folder' if edit.folder else 'file'} with this name doesn't exist: {edit.path!r}.")
    for parent in parents:
        deeper = folder.down(parent, create=False)
        if deeper is None:
            raise missing
        folder = deeper
    mode, _ = folder.entries.get(name, (0, b""))
    if not mode or edit.folder != stat.S_ISDIR(mode):
        raise missing
    del folder.entries[name]
    folder.open.pop(name, None)
