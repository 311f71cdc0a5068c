"""Bare git repositories: the only truth for content. A commit exists from the moment its ref moves, never before."""

import os
import re
import secrets
import shutil
import stat
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from dulwich.objects import Commit, ObjectID, Tag, Tree
from dulwich.refs import Ref, check_ref_format
from dulwich.repo import Repo

from permix.embedded_hub.lfs_store import POINTER_LIMIT, Pointer, pointer_in, sync_folder
from permix.embedded_hub.tree import Edit, Entries, apply

LOOSE_LIMIT = 64
"""A commit with more new objects than this becomes one pack, with one fsync for all (as git's unpackLimit)."""
HEADS, TAGS = "refs/heads/", "refs/tags/"


_MISLEADING = re.compile("-.*|HEAD|refs/.*|[0-9a-f]{40}")
"""Names that git would allow and that everybody would read as something else."""


class StaleParent(Exception):
    """The branch has moved on from the commit that the edit was made for."""


class RefExists(Exception):
    """A branch or tag of that name is there already."""


class BadRef(Exception):
    """Git allows no branch or tag of that name."""


@dataclass(frozen=True)
class Entry:
    """A file or folder in a tree. `oid` is git's; `pointer` is set when the file's text is an LFS pointer."""

    path: str
    oid: str
    folder: bool
    size: int = 0
    pointer: Pointer | None = None


@dataclass(frozen=True)
class CommitFacts:
    """One commit; `when` in seconds since 1970."""

    oid: str
    tree: str
    parents: tuple[str, ...]
    author: str
    message: str
    when: int


class GitRepo:
    """One bare repository. Reading needs no lock; one writer at a time."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._git = Repo(str(path))
        self._git.object_store.fsync_object_files = True  # packs; git itself has deprecated the key in its config
        self._lock = threading.RLock()
        # What an object id names never changes, so these never grow stale.
        self.commit_facts = lru_cache(2048)(self._commit_facts)
        self.facts = lru_cache(65536)(self._facts)
        self._entries = lru_cache(2048)(self._read_tree)
        self._all_files = lru_cache(8)(self._walk_files)

    @property
    def dulwich(self) -> Repo:
        """The repository for dulwich's own servers."""
        return self._git

    def close(self) -> None:
        """Close its pack files."""
        self._git.close()

    # Reading

    def resolve(self, revision: str) -> str | None:
        """The commit that a branch, tag, full ref or 40-digit id names."""
        names = [revision] if revision.startswith("refs/") else [HEADS + revision, TAGS + revision]
        for name in names:
            oid = self._read_ref(name)
            if oid:
                return oid
        if re.fullmatch("[0-9a-f]{40}", revision):
            with suppress(KeyError):
                return self.commit_facts(revision).oid
        return None

    def head(self, branch: str) -> str | None:
        """The commit at the tip of `branch`."""
        return self._read_ref(HEADS + branch)

    def refs(self, prefix: str) -> dict[str, str]:
        """Short name -> commit, of all refs under `prefix`."""
        names = sorted(self._git.refs.subkeys(Ref(prefix.rstrip("/").encode())))
        found = ((bytes(n).decode(), self._read_ref(prefix + bytes(n).decode())) for n in names)
        return {name: oid for name, oid in found if oid}

    def read(self, oid: str) -> bytes:
        """The content of a blob; KeyError when it is not here."""
        return bytes(self._git.object_store.get_raw(ObjectID(oid.encode()))[1])

    def at(self, commit: str, path: str) -> Entry | None:
        """What `path` is at `commit`; the empty path is the top folder."""
        oid, mode = self.commit_facts(commit).tree.encode(), stat.S_IFDIR
        for name in path.encode().split(b"/") if path else []:
            if not stat.S_ISDIR(mode):
                return None
            mode, oid = self._entries(oid).get(name, (0, b""))
            if not mode:
                return None
        return self._entry(path, mode, oid)

    def text(self, commit: str, path: str) -> str | None:
        """The file's text, None when there is no such file (or only an LFS pointer) at `commit`."""
        entry = self.at(commit, path)
        if entry is None or entry.folder or entry.pointer:
            return None
        return self.read(entry.oid).decode(errors="replace")

    def children(self, folder: Entry) -> list[Entry]:
        """What lies directly in `folder`, folders first, by name."""
        start = f"{folder.path}/" if folder.path else ""
        entries = (self._entry(start + n.decode(), m, o) for n, (m, o) in self._entries(folder.oid.encode()).items())
        return sorted(entries, key=lambda entry: (not entry.folder, entry.path))

    def below(self, folder: Entry) -> Iterator[Entry]:
        """Everything in `folder` at any depth."""
        for entry in self.children(folder):
            yield entry
            if entry.folder:
                yield from self.below(entry)

    def files(self, commit: str) -> list[tuple[str, str]]:
        """Path and oid of every file at `commit`, sorted by path."""
        return self._all_files(self.commit_facts(commit).tree)

    def history(self, commit: str) -> Iterator[CommitFacts]:
        """`commit` and its first parents, newest first."""
        following: str | None = commit
        while following:
            facts = self.commit_facts(following)
            yield facts
            following = facts.parents[0] if facts.parents else None

    def last_change(self, commit: str, paths: Sequence[str]) -> dict[str, CommitFacts]:
        """The newest commit that changed each of `paths`, seen from `commit`."""
        found: dict[str, CommitFacts] = {}
        for facts in self.history(commit):
            parent = facts.parents[0] if facts.parents else None
            for path in paths:
                if path not in found and (not parent or self._oid(parent, path) != self._oid(facts.oid, path)):
                    found[path] = facts
            if len(found) == len(paths):
                break
        return found

    # Writing

    def commit(
        self, branch: str, edits: Sequence[Edit], message: str, author: str, parent: str | None = None
    ) -> tuple[str, bool]:
        """Put one commit with `edits` on `branch`; returns the tip and whether it moved.

        Edits that change nothing leave the tip, so that a client's retry makes no second commit. StaleParent when
        `parent` is given and is not the tip; KeyError without such a branch; CannotEdit from `tree.apply`.
        """
        with self._lock:
            tip = self.head(branch)
            if tip is None:
                raise KeyError(branch)
            if parent is not None and parent != tip:
                raise StaleParent(tip)
            before = self.commit_facts(tip).tree
            tree, objects = apply(before.encode(), edits, self._entries)
            if tree.decode() == before:
                return tip, False
            made = _commit_object(tree, [tip.encode()], message, author)
            self._store([*objects.values(), made])
            self._move(HEADS + branch, tip, made.id.decode())
            return made.id.decode(), True

    def squash(self, branch: str, message: str, author: str) -> str:
        """Replace the history of `branch` by one commit with the same files."""
        with self._lock:
            tip = self.head(branch)
            if tip is None:
                raise KeyError(branch)
            made = _commit_object(self.commit_facts(tip).tree.encode(), [], message, author)
            self._store([made])
            self._move(HEADS + branch, tip, made.id.decode())
            return str(made.id.decode())

    def create_ref(self, ref: str, target: str, message: str = "", author: str = "") -> None:
        """Make a branch or tag (annotated when `message` is given); RefExists, BadRef."""
        name = ref.removeprefix(HEADS).removeprefix(TAGS)
        if not check_ref_format(Ref(ref.encode())) or not ref.isprintable() or _MISLEADING.fullmatch(name):
            raise BadRef(ref)
        with self._lock:
            if self._read_ref(ref):
                raise RefExists(ref)
            if message:
                tag = _tag_object(ref.removeprefix(TAGS), target, message, author)
                self._store([tag])
                target = tag.id.decode()
            try:
                self._move(ref, None, target)
            except (NotADirectoryError, IsADirectoryError, FileExistsError):
                raise BadRef(ref) from None  # `a` and `a/b` cannot both be

    def delete_ref(self, ref: str) -> bool:
        """Remove a branch or tag; False when there is none."""
        with self._lock:
            if not self._read_ref(ref):
                return False
            self._unlock(ref)
            self._git.refs.remove_if_equals(Ref(ref.encode()), None)  # folders that this empties go too
            sync_folder(self._path / "refs")
            return True

    # Git objects

    def _read_ref(self, ref: str) -> str | None:
        if not check_ref_format(Ref(ref.encode())):
            return None
        try:
            value = self._git.refs.read_ref(Ref(ref.encode()))
        except (OSError, ValueError):
            return None
        if not value:
            return None
        found: Any = self._git.object_store[value]
        while isinstance(found, Tag):
            found = self._git.object_store[found.object[1]]
        return str(found.id.decode())

    def _move(self, ref: str, old: str | None, new: str) -> None:
        self._unlock(ref)
        if not self._git.refs.set_if_equals(Ref(ref.encode()), old and old.encode(), new.encode()):
            raise StaleParent(ref)
        sync_folder((self._path / ref).parent)

    def _unlock(self, ref: str) -> None:
        # One process writes here, under self._lock: a lock file can only be what a kill left behind.
        (self._path / f"{ref}.lock").unlink(missing_ok=True)

    def _store(self, objects: Sequence[Any]) -> None:
        new = [one for one in objects if not self._has(one.id)]
        if len(new) > LOOSE_LIMIT:
            self._git.object_store.add_objects([(one, None) for one in new])
            sync_folder(self._path / "objects" / "pack")
            return
        for one in new:
            target = self._loose(one.id)
            target.parent.mkdir(exist_ok=True)
            part = target.with_name(f"tmp_obj_{secrets.token_hex(8)}")
            with part.open("xb") as out:
                out.write(one.as_legacy_object())
                out.flush()
                os.fsync(out.fileno())
            part.replace(target)
        for folder in {self._loose(one.id).parent for one in new}:
            sync_folder(folder)

    def _loose(self, oid: bytes) -> Path:
        name = oid.decode()
        return self._path / "objects" / name[:2] / name[2:]

    def _has(self, oid: bytes) -> bool:
        return self._loose(oid).exists() or bool(self._git.object_store.contains_packed(ObjectID(oid)))

    def _commit_facts(self, oid: str) -> CommitFacts:
        found: Any = self._git.object_store[ObjectID(oid.encode())]
        if not isinstance(found, Commit):
            raise KeyError(oid)
        author = found.author.decode(errors="replace").split(" <")[0]
        parents = tuple(parent.decode() for parent in found.parents)
        message = found.message.decode(errors="replace")
        return CommitFacts(oid, found.tree.decode(), parents, author, message, int(found.commit_time))

    def _read_tree(self, oid: bytes) -> Entries:
        tree: Any = self._git.object_store[ObjectID(oid)] if oid != _EMPTY else Tree()
        return {item.path: (item.mode, item.sha) for item in tree.iteritems()}

    def _facts(self, oid: bytes) -> tuple[int, Pointer | None]:
        data = self._git.object_store.get_raw(ObjectID(oid))[1]
        return len(data), pointer_in(data) if len(data) <= POINTER_LIMIT else None

    def _entry(self, path: str, mode: int, oid: bytes) -> Entry:
        if stat.S_ISDIR(mode):
            return Entry(path, oid.decode(), folder=True)
        size, pointer = self.facts(oid)
        return Entry(path, oid.decode(), False, size, pointer)

    def _oid(self, commit: str, path: str) -> bytes:
        oid, mode = self.commit_facts(commit).tree.encode(), stat.S_IFDIR
        for name in path.encode().split(b"/"):
            mode, oid = self._entries(oid).get(name, (0, b"")) if stat.S_ISDIR(mode) else (0, b"")
        return oid

    def _walk_files(self, tree: str) -> list[tuple[str, str]]:
        found: list[tuple[str, str]] = []
        waiting = [("", tree.encode())]
        while waiting:
            start, oid = waiting.pop()
            for name, (mode, child) in self._entries(oid).items():
                path = start + name.decode()
                if stat.S_ISDIR(mode):
                    waiting.append((f"{path}/", child))
                else:
                    found.append((path, child.decode()))
        return sorted(found)


_EMPTY = bytes(Tree().id)


def _commit_object(tree: bytes, parents: list[bytes], message: str, author: str) -> Any:
    made = Commit()
    made.tree, made.parents, made.message = tree, parents, message.encode()
    made.author = made.committer = _signature(author)
    made.author_time = made.commit_time = int(time.time())
    made.author_timezone = made.commit_timezone = 0
    made.encoding = b"UTF-8"
    return made


def _tag_object(name: str, target: str, message: str, author: str) -> Any:
    made = Tag()
    made.name, made.object, made.message = name.encode(), (Commit, target.encode()), message.encode() + b"\n"
    made.tagger, made.tag_time, made.tag_timezone = _signature(author), int(time.time()), 0
    return made


def _signature(author: str) -> bytes:
    return f"{author} <{author}@hub.invalid>".encode()


class Store:
    """All repositories: `repos/{models|datasets|spaces}/<namespace>/<name>.git`.

    Callers give names that the accounts page has checked; nothing else of what a client sends reaches a path.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._open: dict[Path, GitRepo] = {}
        self._lock = threading.Lock()
        self._trash = root / ".trash"
        self._trash.mkdir(parents=True, exist_ok=True)
        for left in self._trash.iterdir():
            shutil.rmtree(left, ignore_errors=True)

    def path(self, kind: str, full_name: str) -> Path:
        """Where a repository lies."""
        return self.root / kind / f"{full_name}.git"

    def repo(self, kind: str, full_name: str) -> GitRepo:
        """Open a repository; the same object for every caller, so that they share its lock."""
        path = self.path(kind, full_name)
        with self._lock:
            if path not in self._open:
                self._open[path] = GitRepo(path)
            return self._open[path]

    def create(self, kind: str, full_name: str, edits: Sequence[Edit], author: str) -> None:
        """Make a repository whose branch main holds one commit; what an unfinished creation left is thrown away."""
        self.discard(kind, full_name)
        building = self._trash / secrets.token_hex(8)
        building.mkdir()
        Repo.init_bare(str(building), default_branch=b"main").close()
        fresh = GitRepo(building)
        tree, objects = apply(_EMPTY, edits, fresh._entries)
        first = _commit_object(tree, [], "initial commit", author)
        fresh._store([*objects.values(), first])
        fresh._move(f"{HEADS}main", None, first.id.decode())
        fresh.close()
        path = self.path(kind, full_name)
        path.parent.mkdir(parents=True, exist_ok=True)
        building.rename(path)
        sync_folder(path.parent)

    def discard(self, kind: str, full_name: str) -> None:
        """Delete a repository; nothing happens when there is none."""
        path, bin_ = self.path(kind, full_name), self._trash / secrets.token_hex(8)
        with self._lock:
            self._open.pop(path, None)
            with suppress(FileNotFoundError):
                path.rename(bin_)
        shutil.rmtree(bin_, ignore_errors=True)

    def move(self, kind: str, old: str, new: str) -> None:
        """Rename a repository."""
        target = self.path(kind, new)
        target.parent.mkdir(parents=True, exist_ok=True)
        with self._lock:
            self._open.pop(self.path(kind, old), None)
            self.path(kind, old).rename(target)
        sync_folder(target.parent)

    def close(self) -> None:
        """Close all repositories."""
        with self._lock:
            for repo in self._open.values():
                repo.close()
            self._open.clear()
