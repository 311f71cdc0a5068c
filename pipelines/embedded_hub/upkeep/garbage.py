"""Remove unreferenced data that is older than a day, while the server runs."""

import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from dulwich.gc import prune_unreachable_objects

from embedded_hub.compute import supervised_process
from embedded_hub.context import ServerContext
from embedded_hub.database.accounts import KINDS, RepoRow
from embedded_hub.store.buckets import BUCKETS
from embedded_hub.store.git_repository import GitRepository

AGE = 86400
"""Seconds: longer than any upload takes from its first file to its commit."""


@dataclass
class Removed:
    """Counts of the removed data."""

    large_files: int = 0
    git_objects: int = 0
    unfinished: int = 0
    xorb_addresses: int = 0


def collect(context: ServerContext, age: float = AGE) -> Removed:
    """Remove data older than `age` s that an upload without a commit, a deleted repository or a kill has left."""
    removed, repos = Removed(), [row for kind in KINDS for row in context.accounts.repos(kind)]
    for row in repos:
        with suppress(Exception):  # deleted or moved at this moment; its leftovers wait for the next time
            git = context.repositories.open(row.kind, row.full_name)
            _revoke_unused(context, row, git, age)
            with git.writing:
                pruned, _ = prune_unreachable_objects(git.git.object_store, git.git.refs, grace_period=int(age))
            removed.git_objects += len(pruned)
            removed.unfinished += _remove(_old(git.path.glob("objects/*/tmp_*"), age))
    large_files = _old(context.lfs.root.glob("??/??/*"), age)
    removed.large_files = _remove(path for path in large_files if not context.accounts.granted_anywhere(path.name))
    objects = context.buckets.root.glob("*/objects/*")
    unfinished = chain(context.lfs.incoming.iterdir(), context.xet.incoming.iterdir(), objects)
    removed.unfinished += _remove(_old(unfinished, age))
    existing = {str(row.id) for row in repos}
    deleted_spaces = [folder for folder in context.spaces.root.iterdir() if folder.name not in existing]
    removed.unfinished += _remove(folder for folder in deleted_spaces if not supervised_process.alive(folder))
    removed.xorb_addresses = context.xet.forget(age, {row.id for row in [*repos, *context.accounts.repos(BUCKETS)]})
    return removed


def _revoke_unused(context: ServerContext, row: RepoRow, git: GitRepository, age: float) -> None:
    """Withdraw the grants of large files that no commit of the repository holds."""
    granted = context.accounts.grants(row)
    old = {oid for oid in granted if (path := context.lfs.path(oid)).exists() and _age(path) > age}
    for oid in old - git.pointers() if old else ():
        context.accounts.revoke(row, oid)


def _remove(paths: Iterable[Path]) -> int:
    count = 0
    for count, path in enumerate(paths, 1):  # noqa: B007
        shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
    return count


def _old(paths: Iterator[Path], age: float) -> Iterator[Path]:
    for path in list(paths):
        with suppress(FileNotFoundError):
            if _age(path) > age:
                yield path


def _age(path: Path) -> float:
    return time.time() - path.stat().st_mtime
