"""The changes of a pull request, their conflicts with the branch, and the edits that merge them."""

from io import BytesIO

from dulwich.objects import ObjectID
from dulwich.patch import write_object_diff

from embedded_hub.database.discussions import Discussion
from embedded_hub.store.git_reader import Change
from embedded_hub.store.git_repository import GitRepository
from embedded_hub.store.git_tree import FILE, Delete, Edit, Put

DIFF_LIMIT = 1 << 20
"""Bytes of a file from which its lines are not compared."""


def changes(git: GitRepository, pull_request: Discussion) -> list[Change]:
    """Return the changes of the pull request against its start commit."""
    head = git.head(pull_request.ref)
    return git.changes(pull_request.start, head) if head and pull_request.start else []


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
    out = BytesIO()
    for path, *oids in changes(git, pull_request):
        if max(len(git.read(oid)) for oid in oids if oid) > DIFF_LIMIT:
            out.write(f"diff --git a/{path} b/{path}\nBinary files a/{path} and b/{path} differ\n".encode())
            continue
        old, new = ((path.encode(), FILE, ObjectID(oid.encode())) if oid else (None, None, None) for oid in oids)
        write_object_diff(out, git.git.object_store, old, new)
    return out.getvalue().decode(errors="replace")
