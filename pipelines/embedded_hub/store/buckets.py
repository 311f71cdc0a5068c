"""Buckets: folders of files without a history, `buckets/<id>/files`, which Jobs use in place.

In the database they are repositories of the kind `buckets`. Uploaded content without a path is in
`buckets/<id>/objects`, named by the client's hash; buckets share nothing.
"""

import os
import secrets
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from embedded_hub.database.accounts import RepoRow

BUCKETS = "buckets"


class Buckets:
    """The folder of buckets."""

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir(mode=0o700, parents=True, exist_ok=True)

    def files(self, bucket: RepoRow) -> Path:
        """Return the folder of a bucket's files."""
        folder = self.root / str(bucket.id) / "files"
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def path(self, bucket: RepoRow, path: str) -> Path:
        """Return a file's path on disk for a checked `path`; PermissionError if a link leads out of the bucket."""
        folder = self.files(bucket).resolve()
        target = (folder / path).resolve()
        if not target.is_relative_to(folder):
            raise PermissionError(f"{path!r} leads out of the bucket")
        return target

    def receive(self, bucket: RepoRow, hash_: str, size: int, pieces: Iterable[bytes]) -> None:
        """Store uploaded content until `add` gives it a path; ValueError if its size differs."""
        with _replacing(self._object(bucket, hash_)) as part:
            with part.open("xb") as out:
                written = sum(out.write(piece) for piece in pieces)
            if written != size:
                raise ValueError(f"{written} bytes were announced with {size}")

    def add(self, bucket: RepoRow, hash_: str, path: str, mtime: float) -> None:
        """Copy uploaded content to a path, replacing a file there. FileNotFoundError, or another OSError."""
        with _replacing(self.path(bucket, path)) as part:
            shutil.copyfile(self._object(bucket, hash_), part)
            os.utime(part, (mtime, mtime))

    def remove(self, bucket: RepoRow, path: str) -> None:
        """Delete a file; FileNotFoundError."""
        self.path(bucket, path).unlink()

    def discard(self, bucket: RepoRow) -> None:
        """Delete a bucket's folder."""
        shutil.rmtree(self.root / str(bucket.id), ignore_errors=True)

    def _object(self, bucket: RepoRow, hash_: str) -> Path:
        return self.root / str(bucket.id) / "objects" / hash_


@contextmanager
def _replacing(target: Path) -> Iterator[Path]:
    """Yield a new path beside `target`, which becomes `target` at the end."""
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{secrets.token_hex(8)}.part")
    try:
        yield part
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)
