"""Left-overs go by age: what nothing refers to, and nobody has touched for a day, is removed while the Hub runs."""

import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from dulwich.gc import prune_unreachable_objects

from embedded_hub.compute import supervised_process
from embedded_hub.context import Hub
from embedded_hub.database.accounts import KINDS, RepoRow
from embedded_hub.store.buckets import BUCKETS
from embedded_hub.store.git_repository import GitRepo

AGE = 86400
"""Seconds that a left-over is kept: longer than any upload takes from its first file to its commit."""


@dataclass
class Removed:
    """What `collect` removed."""

    large_files: int = 0
    git_objects: int = 0
    unfinished: int = 0
    xorb_addresses: int = 0


def collect(hub: Hub, age: float = AGE) -> Removed:
    """Remove left-overs older than `age` s: of uploads without a commit, of deleted repositories, of kills."""
    removed, repos = Removed(), [row for kind in KINDS for row in hub.accounts.repos(kind)]
    for row in repos:
        with suppress(Exception):  # deleted or moved in this moment; its left-overs wait for the next time
            git = hub.store.repo(row.kind, row.full_name)
            _revoke_unused(hub, row, git, age)
            with git.writing:
                found, _ = prune_unreachable_objects(git.git.object_store, git.git.refs, grace_period=int(age))
            removed.git_objects += len(found)
            for path in _old(git.path.glob("objects/*/tmp_*"), age):
                path.unlink(missing_ok=True)
                removed.unfinished += 1
    for path in _old(hub.lfs.root.glob("??/??/*"), age):
        if not hub.accounts.granted_anywhere(path.name):
            path.unlink(missing_ok=True)
            removed.large_files += 1
    for incoming in (hub.lfs.incoming, hub.xet.incoming):
        for path in _old(incoming.iterdir(), age):
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
            removed.unfinished += 1
    there = {str(row.id) for row in repos}
    for folder in hub.spaces.root.iterdir():  # of deleted Spaces
        if folder.name not in there and not supervised_process.alive(folder):
            shutil.rmtree(folder, ignore_errors=True)
            removed.unfinished += 1
    for path in _old(hub.buckets.root.glob("*/objects/*"), age):
        path.unlink(missing_ok=True)
        removed.unfinished += 1
    removed.xorb_addresses = hub.xet.forget(age, {row.id for row in [*repos, *hub.accounts.repos(BUCKETS)]})
    return removed


def _revoke_unused(hub: Hub, row: RepoRow, git: GitRepo, age: float) -> None:
    """Take back the right to large files that no commit of the repository holds."""
    granted = hub.accounts.grants(row)
    old = {oid for oid in granted if (path := hub.lfs.path(oid)).exists() and _age(path) > age}
    for oid in old - git.pointers() if old else ():
        hub.accounts.revoke(row, oid)


def _old(paths: Iterator[Path], age: float) -> Iterator[Path]:
    for path in list(paths):
        with suppress(FileNotFoundError):
            if _age(path) > age:
                yield path


def _age(path: Path) -> float:
    return time.time() - path.stat().st_mtime
