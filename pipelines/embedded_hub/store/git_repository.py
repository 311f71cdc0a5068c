"""Writing to a bare git repository. A commit exists from the moment its ref moves, and never before."""

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
"""A commit with more new objects than this becomes one pack, with one fsync for all (as git's unpackLimit)."""
_MISLEADING = re.compile("-.*|HEAD|refs/.*|[0-9a-f]{40}")
"""Names that git would allow and that everybody would read as something else."""


class StaleParent(Exception):
    """The branch has moved on from the commit that the edit was made for."""


class NoSuchBranch(Exception):
    """There is no branch of that name to write to."""


class RefExists(Exception):
    """A branch or tag of that name is there already."""


class BadRef(Exception):
    """Git allows no branch or tag of that name."""


class GitRepo(GitReader):
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
        """Put one commit with `edits` on `branch` (or `refs/pr/N`); returns the tip and whether it moved.

        Edits that change nothing leave the tip, so that a client's retry makes no second commit. StaleParent when
        `parent` is given and is not the tip; NoSuchBranch; CannotEdit from `tree.apply`.
        """
        with self.writing:
            tip = self.head(branch)
            if tip is None:
                raise NoSuchBranch(branch)
            if parent is not None and parent != tip:
                raise StaleParent(tip)
            before = self.commit_facts(tip).tree
            tree, objects = apply(before.encode(), edits, self.entries)
            if tree.decode() == before:
                return tip, False
            made = _commit_object(tree, [tip.encode()], message, author)
            self._store([*objects.values(), made])
            self._move(full_ref(branch), tip, made.id.decode())
            return made.id.decode(), True

    def propose(self, number: int, start: str, edits: Sequence[Edit], message: str, author: str) -> str:
        """Begin the pull request `refs/pr/<number>` with one commit with `edits` on top of the commit `start`.

        It stays at `start` when the edits change nothing. CannotEdit from `tree.apply`.
        """
        with self.writing:
            before = self.commit_facts(start).tree
            tree, objects = apply(before.encode(), edits, self.entries)
            tip = start
            if tree.decode() != before:
                made = _commit_object(tree, [start.encode()], message, author)
                self._store([*objects.values(), made])
                tip = made.id.decode()
            self._move(f"{PULLS}{number}", None, tip)
            return tip

    def squash(self, branch: str, message: str, author: str) -> str:
        """Replace the history of `branch` by one commit with the same files."""
        with self.writing:
            tip = self.head(branch)
            if tip is None:
                raise NoSuchBranch(branch)
            made = _commit_object(self.commit_facts(tip).tree.encode(), [], message, author)
            self._store([made])
            self._move(HEADS + branch, tip, made.id.decode())
            return str(made.id.decode())

    def create_ref(self, ref: str, target: str, message: str = "", author: str = "") -> None:
        """Make a branch or tag (annotated when `message` is given); RefExists, BadRef."""
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
                raise BadRef(ref) from None  # `a` and `a/b` cannot both be

    def delete_ref(self, ref: str) -> bool:
        """Remove a branch or tag; False when there is none."""
        with self.writing:
            if not self.read_ref(ref):
                return False
            self._unlock(ref)
            self.git.refs.remove_if_equals(Ref(ref.encode()), None)  # folders that this empties go too
            sync_folder(self.path / "refs")
            return True

    def _move(self, ref: str, old: str | None, new: str) -> None:
        self._unlock(ref)
        if not self.git.refs.set_if_equals(Ref(ref.encode()), old and old.encode(), new.encode()):
            raise StaleParent(ref)
        sync_folder((self.path / ref).parent)

    def _unlock(self, ref: str) -> None:
        # One process writes here, under self.writing: a lock file can only be what a kill left behind.
        (self.path / f"{ref}.lock").unlink(missing_ok=True)

    def _store(self, objects: Sequence[Any]) -> None:
        new = [one for one in objects if not self._has(one.id)]
        if len(new) > LOOSE_LIMIT:
            self.git.object_store.add_objects([(one, None) for one in new])
            sync_folder(self.path / "objects" / "pack")
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
        return self.path / "objects" / name[:2] / name[2:]

    def _has(self, oid: bytes) -> bool:
        return self._loose(oid).exists() or bool(self.git.object_store.contains_packed(ObjectID(oid)))


def _commit_object(tree: bytes, parents: list[bytes], message: str, author: str) -> Any:
    made = Commit()
    made.tree, made.parents, made.message = tree, parents, message.encode(errors="replace")
    made.author = made.committer = _signature(author)
    made.author_time = made.commit_time = int(time.time())
    made.author_timezone = made.commit_timezone = 0
    made.encoding = b"UTF-8"
    return made


def _tag_object(name: str, target: str, message: str, author: str) -> Any:
    made = Tag()
    made.name, made.object, made.message = (
        name.encode(),
        (Commit, target.encode()),
        message.encode(errors="replace") + b"\n",
    )
    made.tagger, made.tag_time, made.tag_timezone = _signature(author), int(time.time()), 0
    return made


def _signature(author: str) -> bytes:
    return f"{author} <{author}@hub.invalid>".encode()
