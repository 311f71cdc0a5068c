"""Writing to a bare git repository. A commit exists as soon as its ref moves, not before."""

import os
import re
import secrets
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dulwich.objects import Commit, ObjectID, Tag
from dulwich.refs import Ref

from embedded_hub.store.git_reader import EMPTY_TREE, HEADS, PULLS, TAGS, GitReader, full_ref, sound_ref
from embedded_hub.store.git_tree import Edit, apply
from embedded_hub.store.lfs import sync_folder

LOOSE_LIMIT = 64
"""A commit with more new objects than this becomes one pack with a single fsync (as git's unpackLimit)."""
_MISLEADING = re.compile("-.*|HEAD|refs/.*|[0-9a-f]{40}")
"""Names that git allows but readers would misunderstand."""


class StaleParent(Exception):
    """The branch has moved since the commit for which the edit was made."""


class NoSuchBranch(Exception):
    """The branch does not exist."""


class RefExists(Exception):
    """The branch or tag exists already."""


class BadRef(Exception):
    """Git does not allow a branch or tag of that name."""


class GitRepository(GitReader):
    """One bare repository; one writer at a time."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.writing = threading.RLock()
        self.git.object_store.fsync_object_files = True  # packs; as a key of git's own config it is deprecated

    def begin(self, edits: Sequence[Edit], author: str) -> None:
        """Put the first commit on main."""
        tree, objects = apply(EMPTY_TREE, edits, self.entries)
        first = _commit_object(tree, [], "initial commit", author)
        self._store([*objects.values(), first])
        self._move(f"{HEADS}main", None, first.id.decode())

    def commit(
        self, branch: str, edits: Sequence[Edit], message: str, author: str, parent: str | None = None
    ) -> tuple[str, bool]:
        """Put one commit with `edits` on `branch` (or `refs/pr/N`); return the tip and whether it moved.

        Edits without a change leave the tip, so that a client's retry does not commit twice. StaleParent if `parent` is
        given and is not the tip; NoSuchBranch; CannotEdit from `git_tree.apply`.
        """
        with self.writing:
            tip = self.head(branch)
            if tip is None:
                raise NoSuchBranch(branch)
            if parent is not None and parent != tip:
                raise StaleParent(tip)
            oid = self._edited(tip, edits, message, author)
            if oid != tip:
                self._move(full_ref(branch), tip, oid)
            return oid, oid != tip

    def propose(self, number: int, start: str, edits: Sequence[Edit], message: str, author: str) -> str:
        """Open pull request `number` with one commit of `edits` on `start`, or none if they change nothing."""
        with self.writing:
            tip = self._edited(start, edits, message, author)
            self._move(f"{PULLS}{number}", None, tip)
            return tip

    def squash(self, branch: str, message: str, author: str) -> str:
        """Replace the history of `branch` by one commit with the same files."""
        with self.writing:
            tip = self.head(branch)
            if tip is None:
                raise NoSuchBranch(branch)
            commit = _commit_object(self.commit_facts(tip).tree.encode(), [], message, author)
            self._store([commit])
            self._move(HEADS + branch, tip, commit.id.decode())
            return str(commit.id.decode())

    def create_ref(self, ref: str, target: str, message: str = "", author: str = "") -> None:
        """Create a branch or tag (annotated if `message` is given); RefExists, BadRef."""
        name = ref.removeprefix(HEADS).removeprefix(TAGS)
        if not sound_ref(ref) or _MISLEADING.fullmatch(name):
            raise BadRef(ref)
        with self.writing:
            if self.read_ref(ref):
                raise RefExists(ref)
            if message:
                tag = _tag_object(ref.removeprefix(TAGS), target, message, author)
                self._store([tag])
                target = tag.id.decode()
            try:
                self._move(ref, None, target)
            except (NotADirectoryError, IsADirectoryError, FileExistsError):
                raise BadRef(ref) from None  # `a` and `a/b` cannot both exist

    def delete_ref(self, ref: str) -> bool:
        """Delete a branch or tag; return whether it existed."""
        with self.writing:
            if not self.read_ref(ref):
                return False
            self._unlock(ref)
            self.git.refs.remove_if_equals(Ref(ref.encode()), None)  # also removes emptied folders
            sync_folder(self.path / "refs")
            return True

    def _edited(self, start: str, edits: Sequence[Edit], message: str, author: str) -> str:
        """Store a commit with `edits` on top of the commit `start`; return `start` if they change nothing."""
        before = self.commit_facts(start).tree.encode()
        tree, objects = apply(before, edits, self.entries)
        if tree == before:
            return start
        commit = _commit_object(tree, [start.encode()], message, author)
        self._store([*objects.values(), commit])
        return str(commit.id.decode())

    def _move(self, ref: str, old: str | None, new: str) -> None:
        self._unlock(ref)
        if not self.git.refs.set_if_equals(Ref(ref.encode()), old and old.encode(), new.encode()):
            raise StaleParent(ref)
        sync_folder((self.path / ref).parent)

    def _unlock(self, ref: str) -> None:
        # One process writes here, under self.writing: a lock file can only come from a kill.
        (self.path / f"{ref}.lock").unlink(missing_ok=True)

    def _store(self, objects: Sequence[Any]) -> None:
        new = [object_ for object_ in objects if not self._has(object_.id)]
        if len(new) > LOOSE_LIMIT:
            self.git.object_store.add_objects([(object_, None) for object_ in new])
            sync_folder(self.path / "objects" / "pack")
            return
        for object_ in new:
            target = self._loose(object_.id)
            target.parent.mkdir(exist_ok=True)
            part = target.with_name(f"tmp_obj_{secrets.token_hex(8)}")
            with part.open("xb") as out:
                out.write(object_.as_legacy_object())
                out.flush()
                os.fsync(out.fileno())
            part.replace(target)
        for folder in {self._loose(object_.id).parent for object_ in new}:
            sync_folder(folder)

    def _loose(self, oid: bytes) -> Path:
        name = oid.decode()
        return self.path / "objects" / name[:2] / name[2:]

    def _has(self, oid: bytes) -> bool:
        return self._loose(oid).exists() or bool(self.git.object_store.contains_packed(ObjectID(oid)))


def _commit_object(tree: bytes, parents: list[bytes], message: str, author: str) -> Any:
    commit = Commit()
    commit.tree, commit.parents, commit.message = tree, parents, message.encode(errors="replace")
    commit.author = commit.committer = _signature(author)
    commit.author_time = commit.commit_time = int(time.time())
    commit.author_timezone = commit.commit_timezone = 0
    commit.encoding = b"UTF-8"
    return commit


def _tag_object(name: str, target: str, message: str, author: str) -> Any:
    tag = Tag()
    tag.name, tag.object = name.encode(), (Commit, target.encode())
    tag.message = message.encode(errors="replace") + b"\n"
    tag.tagger, tag.tag_time, tag.tag_timezone = _signature(author), int(time.time()), 0
    return tag


def _signature(author: str) -> bytes:
    return f"{author} <{author}@hub.invalid>".encode()
