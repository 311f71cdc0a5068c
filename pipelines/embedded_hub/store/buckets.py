"""Buckets: folders of files without a history, `buckets/<id>/files`, which Jobs use where they lie.

The database knows them as repositories of the kind `buckets`. What was uploaded and has no path yet is in
`buckets/<id>/objects`, by the hash that the client has computed: nothing is shared between buckets.
"""

import os
import secrets
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

from embedded_hub.database.accounts import RepoRow

BUCKETS = "buckets"


class Buckets:
    """The folder of buckets."""

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir(mode=0o700, parents=True, exist_ok=True)

    def files(self, bucket: RepoRow) -> Path:
        """The folder that holds a bucket's files."""
        folder = self.root / str(bucket.id) / "files"
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def path(self, bucket: RepoRow, path: str) -> Path:
        """Where a file of a bucket lies, for a `path` that was checked. PermissionError when a link leads out of it."""
        folder = self.files(bucket).resolve()
        found = (folder / path).resolve()
        if not found.is_relative_to(folder):
            raise PermissionError(f"{path!r} leads out of the bucket")
        return found

    def receive(self, bucket: RepoRow, hash_: str, size: int, pieces: Iterable[bytes]) -> None:
        """Keep what was uploaded until `place` gives it a path; ValueError when it has another size."""
        target = self._object(bucket, hash_)
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(f"{secrets.token_hex(8)}.part")
        try:
            with part.open("xb") as out:
                written = sum(out.write(piece) for piece in pieces)
            if written != size:
                raise ValueError(f"{written} bytes were announced with {size}")
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)

    def place(self, bucket: RepoRow, hash_: str, path: str, mtime: float) -> None:
        """Put what was uploaded at a path, in place of what was there. FileNotFoundError; OSError when it cannot be."""
        source, target = self._object(bucket, hash_), self.path(bucket, path)
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(f".{secrets.token_hex(8)}.part")
        try:
            shutil.copyfile(source, part)
            os.utime(part, (mtime, mtime))
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)

    def remove(self, bucket: RepoRow, path: str) -> None:
        """Delete a file; FileNotFoundError."""
        self.path(bucket, path).unlink()

    def below(self, bucket: RepoRow, prefix: str) -> Iterator[Path]:
        """Everything under a path, sorted."""
        return iter(sorted(self.path(bucket, prefix).rglob("*")))

    def discard(self, bucket: RepoRow) -> None:
        """Delete everything of a bucket."""
        shutil.rmtree(self.root / str(bucket.id), ignore_errors=True)

    def _object(self, bucket: RepoRow, hash_: str) -> Path:
        return self.root / str(bucket.id) / "objects" / hash_
