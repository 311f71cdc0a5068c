"""What a pull request changes, what stands against it, and the edits that merge it."""

import difflib
from collections.abc import Iterator

from embedded_hub.database.discussions import Discussion
from embedded_hub.store.git_repository import GitRepo
from embedded_hub.store.git_tree import Delete, Edit, Put

DIFF_LIMIT = 1 << 20
"""Bytes of a file from which its lines are not compared."""

Change = tuple[str, str | None, str | None]
"""A path, and its blob before and after; None where it is not there."""


def changes(git: GitRepo, one: Discussion) -> list[Change]:
    """What the pull request changes, against the commit that it began at."""
    head = git.head(one.ref)
    if head is None or one.start is None:
        return []
    before, after = dict(git.files(one.start)), dict(git.files(head))
    paths = sorted(before.keys() | after.keys())
    return [(path, before.get(path), after.get(path)) for path in paths if before.get(path) != after.get(path)]


def conflicts(git: GitRepo, one: Discussion, tip: str) -> list[str]:
    """The files that both the pull request and its branch, now at `tip`, have changed, each in another way."""
    there = dict(git.files(tip))
    return [path for path, old, new in changes(git, one) if there.get(path) not in (old, new)]


def edits(git: GitRepo, one: Discussion, tip: str) -> list[Edit]:
    """What must happen on top of `tip` to merge it."""
    there = dict(git.files(tip))
    wanted = [(path, new) for path, _, new in changes(git, one) if there.get(path) != new]
    deleted: list[Edit] = [Delete(path) for path, new in wanted if new is None]  # first: a folder may take its place
    return deleted + [Put(path, git.read(new)) for path, new in wanted if new is not None]


def diff(git: GitRepo, one: Discussion) -> str:
    """The changes as git would print them."""
    return "".join(line for change in changes(git, one) for line in _diff_of(git, *change))


def _diff_of(git: GitRepo, path: str, old: str | None, new: str | None) -> Iterator[str]:
    yield f"diff --git a/{path} b/{path}\n"
    if old is None:
        yield "new file mode 100644\n"
    if new is None:
        yield "deleted file mode 100644\n"
    yield f"index {(old or '0' * 40)[:7]}..{(new or '0' * 40)[:7]}\n"
    before, after = (_lines(git, oid) for oid in (old, new))
    names = ("/dev/null" if old is None else f"a/{path}", "/dev/null" if new is None else f"b/{path}")
    if before is None or after is None:
        yield f"Binary files {names[0]} and {names[1]} differ\n"
        return
    for line in difflib.unified_diff(before, after, *names):
        yield line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n"


def _lines(git: GitRepo, oid: str | None) -> list[str] | None:
    data = git.read(oid) if oid else b""
    if len(data) > DIFF_LIMIT or b"\0" in data:
        return None
    return data.decode(errors="replace").splitlines(keepends=True)
