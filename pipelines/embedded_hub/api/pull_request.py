"""The changes of a pull request, their conflicts with the branch, and the edits that merge them."""

import difflib
from collections.abc import Iterator

from embedded_hub.database.discussions import Discussion
from embedded_hub.store.git_repository import GitRepository
from embedded_hub.store.git_tree import Delete, Edit, Put

DIFF_LIMIT = 1 << 20
"""Bytes of a file from which its lines are not compared."""

Change = tuple[str, str | None, str | None]
"""A path with its blob before and after; None where the file does not exist."""


def changes(git: GitRepository, pull_request: Discussion) -> list[Change]:
    """Return the changes of the pull request against its start commit."""
    head = git.head(pull_request.ref)
    if head is None or pull_request.start is None:
        return []
    before, after = dict(git.files(pull_request.start)), dict(git.files(head))
    paths = sorted(before.keys() | after.keys())
    return [(path, before.get(path), after.get(path)) for path in paths if before.get(path) != after.get(path)]


def conflicts(git: GitRepository, pull_request: Discussion, tip: str) -> list[str]:
    """Return the files that the pull request and its branch, now at `tip`, have changed differently."""
    current = dict(git.files(tip))
    return [path for path, old, new in changes(git, pull_request) if current.get(path) not in (old, new)]


def edits(git: GitRepository, pull_request: Discussion, tip: str) -> list[Edit]:
    """Return the edits on top of `tip` that merge the pull request."""
    current = dict(git.files(tip))
    pending = [(path, new) for path, _, new in changes(git, pull_request) if current.get(path) != new]
    deleted: list[Edit] = [Delete(path) for path, new in pending if new is None]  # first: a folder may take its place
    return deleted + [Put(path, git.read(new)) for path, new in pending if new is not None]


def diff(git: GitRepository, pull_request: Discussion) -> str:
    """Return the changes in git's format."""
    return "".join(line for change in changes(git, pull_request) for line in _diff_of(git, *change))


def _diff_of(git: GitRepository, path: str, old: str | None, new: str | None) -> Iterator[str]:
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


def _lines(git: GitRepository, oid: str | None) -> list[str] | None:
    data = git.read(oid) if oid else b""
    if len(data) > DIFF_LIMIT or b"\0" in data:
        return None
    return data.decode(errors="replace").splitlines(keepends=True)
