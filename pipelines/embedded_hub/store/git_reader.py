"""Reading a bare git repository. Needs no lock: an object never changes, and refs move atomically."""

import re
import stat
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from dulwich.object_store import iter_tree_contents
from dulwich.objects import Commit, ObjectID, Tag, Tree
from dulwich.refs import Ref, check_ref_format
from dulwich.repo import Repo

from embedded_hub.store.git_tree import Entries
from embedded_hub.store.lfs import POINTER_LIMIT, Pointer, pointer_in

HEADS, TAGS, PULLS = "refs/heads/", "refs/tags/", "refs/pr/"
EMPTY_TREE = bytes(Tree().id)
Change = tuple[str, str | None, str | None]
"""A path with its blob before and after; None where the file does not exist."""


@dataclass(frozen=True)
class Entry:
    """A file or folder in a tree. `oid` is git's; `pointer` is set if the file's text is an LFS pointer."""

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


def sound_ref(ref: str) -> bool:
    """Return whether git allows a ref of that name, and file systems its file."""
    return ref.isprintable() and len(ref.encode()) < 240 and bool(check_ref_format(Ref(ref.encode())))


def full_ref(branch: str) -> str:
    """Return the ref of a branch, or of the pull request `refs/pr/N`."""
    return branch if branch.startswith(PULLS) else HEADS + branch


class GitReader:
    """One bare repository, readable from many threads."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.git = Repo(str(path))
        self.commit_facts = lru_cache(2048)(self._commit_facts)
        self.facts = lru_cache(16384)(self._facts)
        self.entries = lru_cache(256)(self._read_tree)
        self._all_files = lru_cache(4)(self._walk_files)

    def close(self) -> None:
        """Close its pack files."""
        self.git.close()

    def resolve(self, revision: str) -> str | None:
        """Return the commit that a branch, tag, full ref or 40-digit id names."""
        for name in [revision] if revision.startswith("refs/") else [HEADS + revision, TAGS + revision]:
            if oid := self.read_ref(name):
                return oid
        if re.fullmatch("[0-9a-f]{40}", revision):
            with suppress(KeyError):
                return self.commit_facts(revision).oid
        return None

    def head(self, branch: str) -> str | None:
        """Return the tip of `branch`, or of the pull request `refs/pr/N`."""
        return self.read_ref(full_ref(branch))

    def refs(self, prefix: str) -> dict[str, str]:
        """Return short name -> commit of all refs under `prefix`."""
        names = sorted(self.git.refs.subkeys(Ref(prefix.rstrip("/").encode())))
        commits = ((bytes(n).decode(), self.read_ref(prefix + bytes(n).decode())) for n in names)
        return {name: oid for name, oid in commits if oid}

    def read(self, oid: str) -> bytes:
        """Return the content of a blob; KeyError if it is missing."""
        return bytes(self.git.object_store.get_raw(ObjectID(oid.encode()))[1])

    def at(self, commit: str, path: str) -> Entry | None:
        """Return the file or folder `path` at `commit`; the empty path is the top folder."""
        mode, oid = self._lookup(commit, path)
        return self._entry(path, mode, oid) if mode else None

    def text(self, commit: str, path: str) -> str | None:
        """Return the file's text at `commit`; None if it is missing or an LFS pointer."""
        entry = self.at(commit, path)
        if entry is None or entry.folder or entry.pointer:
            return None
        return self.read(entry.oid).decode(errors="replace")

    def children(self, folder: Entry) -> list[Entry]:
        """Return the direct children of `folder`, folders first, by name."""
        start = f"{folder.path}/" if folder.path else ""
        entries = (self._entry(start + n.decode(), m, o) for n, (m, o) in self.entries(folder.oid.encode()).items())
        return sorted(entries, key=lambda entry: (not entry.folder, entry.path))

    def below(self, folder: Entry) -> Iterator[Entry]:
        """Yield everything in `folder` at any depth."""
        for entry in self.children(folder):
            yield entry
            if entry.folder:
                yield from self.below(entry)

    def files(self, commit: str) -> list[tuple[str, str]]:
        """Return path and oid of every file at `commit`, sorted by path."""
        return self._all_files(self.commit_facts(commit).tree)

    def changes(self, old: str | None, new: str) -> list[Change]:
        """Return the files in which two commits differ, sorted by path; None stands for an empty repository."""
        before, after = dict(self.files(old)) if old else {}, dict(self.files(new))
        paths = sorted(before.keys() | after.keys())
        return [(path, before.get(path), after.get(path)) for path in paths if before.get(path) != after.get(path)]

    def pointers(self) -> set[str]:
        """Return the large files of all reachable commits. Slow: it reads every tree of the history."""
        commits = [self.resolve(ref.decode()) for ref in self.git.refs.allkeys() if ref != b"HEAD"]
        seen: set[str | bytes] = set()
        oids: set[str] = set()
        while commits:
            commit = commits.pop()
            if not commit or commit in seen:
                continue
            facts = self.commit_facts(commit)
            commits += facts.parents
            waiting = [facts.tree.encode()]
            seen.add(commit)
            while waiting:
                for mode, oid in self.entries(waiting.pop()).values():
                    if oid not in seen:
                        seen.add(oid)
                        if stat.S_ISDIR(mode):
                            waiting.append(oid)
                        elif pointer := self.facts(oid)[1]:
                            oids.add(pointer.oid)
        return oids

    def history(self, commit: str) -> Iterator[CommitFacts]:
        """Yield `commit` and its first parents, newest first."""
        following: str | None = commit
        while following:
            facts = self.commit_facts(following)
            yield facts
            following = facts.parents[0] if facts.parents else None

    def last_change(self, commit: str, paths: Sequence[str]) -> dict[str, CommitFacts]:
        """Return for each of `paths` the newest commit that changed it, as seen from `commit`."""
        changes: dict[str, CommitFacts] = {}
        for facts in self.history(commit):
            parent = facts.parents[0] if facts.parents else None
            for path in paths:
                if path not in changes and (not parent or self._lookup(parent, path) != self._lookup(facts.oid, path)):
                    changes[path] = facts
            if len(changes) == len(paths):
                break
        return changes

    def read_ref(self, ref: str) -> str | None:
        """Return the commit of a full ref, through tag objects."""
        if not sound_ref(ref):
            return None
        try:
            value = self.git.refs.read_ref(Ref(ref.encode()))
        except (OSError, ValueError):
            return None
        if not value:
            return None
        object_: Any = self.git.object_store[value]
        while isinstance(object_, Tag):
            object_ = self.git.object_store[object_.object[1]]
        return str(object_.id.decode())

    def _commit_facts(self, oid: str) -> CommitFacts:
        commit: Any = self.git.object_store[ObjectID(oid.encode())]
        if not isinstance(commit, Commit):
            raise KeyError(oid)
        author = commit.author.decode(errors="replace").split(" <")[0]
        parents = tuple(parent.decode() for parent in commit.parents)
        message = commit.message.decode(errors="replace")
        return CommitFacts(oid, commit.tree.decode(), parents, author, message, int(commit.commit_time))

    def _read_tree(self, oid: bytes) -> Entries:
        tree: Any = self.git.object_store[ObjectID(oid)] if oid != EMPTY_TREE else Tree()
        return {item.path: (item.mode, item.sha) for item in tree.iteritems()}

    def _facts(self, oid: bytes) -> tuple[int, Pointer | None]:
        data = self.git.object_store.get_raw(ObjectID(oid))[1]
        return len(data), pointer_in(data) if len(data) <= POINTER_LIMIT else None

    def _entry(self, path: str, mode: int, oid: bytes) -> Entry:
        if stat.S_ISDIR(mode):
            return Entry(path, oid.decode(), folder=True)
        size, pointer = self.facts(oid)
        return Entry(path, oid.decode(), False, size, pointer)

    def _lookup(self, commit: str, path: str) -> tuple[int, bytes]:
        """Return mode and oid of `path` at `commit`; mode 0 if it is missing."""
        mode, oid = stat.S_IFDIR, self.commit_facts(commit).tree.encode()
        for name in path.encode(errors="surrogatepass").split(b"/") if path else []:
            mode, oid = self.entries(oid).get(name, (0, b"")) if stat.S_ISDIR(mode) else (0, b"")
        return mode, oid

    def _walk_files(self, tree: str) -> list[tuple[str, str]]:
        entries = iter_tree_contents(self.git.object_store, ObjectID(tree.encode()))
        return sorted((entry.path.decode(), entry.sha.decode()) for entry in entries)
