"""The folder of bare repositories: the only source of content."""

import secrets
import shutil
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from dulwich.repo import Repo

from embedded_hub.store.git_repository import GitRepository
from embedded_hub.store.git_tree import Edit
from embedded_hub.store.lfs import sync_folder


class RepositoryStore:
    """All repositories: `repos/{models|datasets|spaces}/<namespace>/<name>.git`.

    Callers pass names that `accounts.valid_name` has checked; no other text of a client reaches a path.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._open: dict[Path, GitRepository] = {}
        self._lock = threading.Lock()
        self._trash = root / ".trash"
        self._trash.mkdir(parents=True, exist_ok=True)
        for leftover in self._trash.iterdir():
            shutil.rmtree(leftover, ignore_errors=True)

    def path(self, kind: str, full_name: str) -> Path:
        """Return a repository's folder."""
        return self.root / kind / f"{full_name}.git"

    def open(self, kind: str, full_name: str) -> GitRepository:
        """Return the opened repository; all callers get the same object, so that they share its lock."""
        path = self.path(kind, full_name)
        with self._lock:
            if path not in self._open:
                self._open[path] = GitRepository(path)
            return self._open[path]

    def create(self, kind: str, full_name: str, edits: Sequence[Edit], author: str) -> None:
        """Create a repository with one commit on main; leftovers of an unfinished creation are discarded."""
        self.discard(kind, full_name)
        building = self._trash / secrets.token_hex(8)
        building.mkdir()
        Repo.init_bare(str(building), default_branch=b"main").close()
        fresh = GitRepository(building)
        fresh.begin(edits, author)
        fresh.close()
        path = self.path(kind, full_name)
        path.parent.mkdir(parents=True, exist_ok=True)
        building.rename(path)
        sync_folder(path.parent)

    def discard(self, kind: str, full_name: str) -> None:
        """Delete a repository if it exists."""
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
