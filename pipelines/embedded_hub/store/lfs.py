"""Large files, each stored once under its sha256: `lfs/<ab>/<cd>/<sha256>`."""

import errno
import fcntl
import hashlib
import mmap
import os
import re
import secrets
import shutil
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_POINTER = re.compile(
    rb"version https://git-lfs\.github\.com/spec/v1\noid sha256:([0-9a-f]{64})\nsize (0|[1-9][0-9]{0,17})\n?"
)
LARGEST = 1 << 40
"""Bytes of the largest file that is accepted."""
PIECE = 1 << 20
PAST_THE_CACHE = 64 << 20
"""Bytes from which a file is written past the page cache."""
BLOCK, LARGE_BLOCK = 128 << 10, 2 << 20
"""Bytes hashed and written at once for files below and from that size; small, because slow clients may be many."""
POINTER_LIMIT = 200
"""Bytes of the longest pointer; larger git blobs need not be parsed."""


@dataclass(frozen=True)
class Pointer:
    """The content of git's blob for a large file."""

    oid: str
    size: int

    def text(self) -> bytes:
        """Return the pointer as git-lfs writes it."""
        return f"version https://git-lfs.github.com/spec/v1\noid sha256:{self.oid}\nsize {self.size}\n".encode()


def pointer_in(data: bytes) -> Pointer | None:
    """Return the pointer in `data`; None for an ordinary file."""
    match = _POINTER.fullmatch(data) if len(data) <= POINTER_LIMIT else None
    return Pointer(match[1].decode(), int(match[2])) if match else None


class LfsStore:
    """The folder of large files. A file appears under its name once it is complete on disk and its hash is right."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.incoming = root / "incoming"
        shutil.rmtree(self.incoming, ignore_errors=True)  # uploads that a kill interrupted
        self.incoming.mkdir(parents=True)

    def path(self, oid: str) -> Path:
        """Return the path of the file with this sha256; ValueError for anything but 64 hex digits."""
        if not re.fullmatch("[0-9a-f]{64}", oid):
            raise ValueError(f"{oid!r} is not a sha256")
        return self.root / oid[:2] / oid[2:4] / oid

    def size(self, oid: str) -> int | None:
        """Return the size of a file in bytes; None if it is missing."""
        try:
            return self.path(oid).stat().st_size
        except FileNotFoundError:
            return None

    def has(self, pointer: Pointer) -> bool:
        """Return whether the file exists with this size."""
        return self.size(pointer.oid) == pointer.size

    def touch(self, oid: str) -> None:
        """Reset a file's age for `garbage`: a client that did not upload it again needs it until its commit."""
        with suppress(FileNotFoundError):
            os.utime(self.path(oid))

    def receive(self, pointer: Pointer) -> "FileUpload":
        """Begin to receive the file of `pointer`."""
        return FileUpload(self.incoming, self.path(pointer.oid), pointer.size, pointer.oid)

    def receive_part(self, upload: str, number: int, size: int) -> "FileUpload":
        """Begin to receive a part of a file. The names are safe: they come from URLs that this server has signed."""
        return FileUpload(self.incoming, self.incoming / upload / str(number), size)

    def join(self, upload: str, pointer: Pointer) -> None:
        """Join the parts into the file and delete them; ValueError if they do not match `pointer`."""
        parts = sorted((self.incoming / upload).glob("*"), key=lambda part: int(part.name))
        whole = self.receive(pointer)
        try:
            for part in parts:
                with part.open("rb", buffering=0) as source:
                    part.unlink()
                    while piece := source.read(PIECE):
                        whole.write(piece)
            whole.finish()
        finally:
            whole.abandon()
            shutil.rmtree(self.incoming / upload, ignore_errors=True)


class FileUpload:
    """An upload to `target`: `write` pieces, then `finish`; `abandon` in every other case.

    Its size must be right, and its sha256 if given. A part comes without a sha256 and need not survive a power cut.
    Pieces fill one of two blocks while the other is hashed and written.
    """

    def __init__(self, incoming: Path, target: Path, size: int, sha256: str | None = None) -> None:
        self._target, self._size, self._sha256 = target, size, sha256
        self._part = incoming / f"{secrets.token_hex(16)}.part"
        self._file = self._part.open("xb", buffering=0)
        large = size >= PAST_THE_CACHE
        if large:
            _pass_the_cache(self._file.fileno(), True)
        self._hash = hashlib.sha256()
        self._received = 0
        length = LARGE_BLOCK if large else min(BLOCK, size) or 1
        self._block, self._other = (memoryview(mmap.mmap(-1, length)) for _ in range(2))
        self._filled = 0
        self._pool = ThreadPoolExecutor(2)
        self._pending: list[Future[None]] = []

    def write(self, piece: bytes) -> None:
        """Add one piece; ValueError beyond the announced size."""
        self._received += len(piece)
        if self._received > self._size:
            raise ValueError(f"more than the announced {self._size} bytes arrived")
        rest = memoryview(piece)
        while rest:
            taken = min(len(rest), len(self._block) - self._filled)
            self._block[self._filled : self._filled + taken] = rest[:taken]
            self._filled, rest = self._filled + taken, rest[taken:]
            if self._filled == len(self._block):
                self._wait()
                self._begin(self._block)
                self._block, self._other, self._filled = self._other, self._block, 0

    def finish(self) -> None:
        """Store the file; ValueError if its size or sha256 differs from the announced one."""
        if self._received != self._size:
            raise ValueError(f"{self._received} bytes arrived, {self._size} were announced")
        self._wait()
        _pass_the_cache(self._file.fileno(), False)  # the rest is not a whole block
        self._begin(self._block[: self._filled])
        self._wait()
        if self._sha256 and self._hash.hexdigest() != self._sha256:
            raise ValueError(f"the sha256 is {self._hash.hexdigest()}, {self._sha256} was announced")
        if self._sha256:
            os.fsync(self._file.fileno())
        self._file.close()
        self._target.parent.mkdir(parents=True, exist_ok=True)
        self._part.replace(self._target)
        if self._sha256:
            sync_folder(self._target.parent)

    def abandon(self) -> None:
        """Discard the upload; harmless after `finish`."""
        self._pool.shutdown()
        self._file.close()
        with suppress(OSError):
            self._part.unlink(missing_ok=True)

    def _begin(self, block: memoryview) -> None:
        self._pending = [self._pool.submit(_write_all, self._file.fileno(), block)]
        if self._sha256:
            self._pending.append(self._pool.submit(self._hash.update, block))

    def _wait(self) -> None:
        for future in self._pending:
            future.result()
        self._pending = []


def _write_all(descriptor: int, block: memoryview) -> None:
    while block:
        try:
            block = block[os.write(descriptor, block) :]
        except OSError as error:
            if error.errno != errno.EINVAL or not fcntl.fcntl(descriptor, fcntl.F_GETFL) & getattr(os, "O_DIRECT", 0):
                raise
            _pass_the_cache(descriptor, False)  # after a partial block, or where O_DIRECT is accepted and fails later


def _pass_the_cache(descriptor: int, direct: bool) -> None:
    """Switch writing past the page cache on or off, if the file system can: cheaper, and it evicts nothing else."""
    if hasattr(os, "O_DIRECT"):
        with suppress(OSError):
            fcntl.fcntl(descriptor, fcntl.F_SETFL, os.O_DIRECT if direct else 0)


def sync_folder(folder: Path) -> None:
    """Make renames in `folder` survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
