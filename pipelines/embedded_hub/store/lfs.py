"""Large files, kept once each under their sha256: `lfs/<ab>/<cd>/<sha256>`."""

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
"""Bytes of the largest file that is taken."""
PIECE = 1 << 20
PAST_THE_CACHE = 64 << 20
"""Bytes from which a file is written past the page cache."""
BLOCK, LARGE_BLOCK = 128 << 10, 2 << 20
"""Bytes that are hashed and written at once, of files below and from that size: slow clients may be many."""
POINTER_LIMIT = 200
"""No pointer is longer than this, so larger git blobs need not be looked at."""


@dataclass(frozen=True)
class Pointer:
    """What git holds in place of a large file."""

    oid: str
    size: int

    def text(self) -> bytes:
        """The pointer as git-lfs writes it."""
        return f"version https://git-lfs.github.com/spec/v1\noid sha256:{self.oid}\nsize {self.size}\n".encode()


def pointer_in(data: bytes) -> Pointer | None:
    """The pointer that `data` is, or None when it is an ordinary file."""
    found = _POINTER.fullmatch(data) if len(data) <= POINTER_LIMIT else None
    return Pointer(found[1].decode(), int(found[2])) if found else None


class LfsStore:
    """The folder of large files. A file appears under its name when all of it is on the disk and its hash is right."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.incoming = root / "incoming"
        shutil.rmtree(self.incoming, ignore_errors=True)  # uploads that a kill interrupted
        self.incoming.mkdir(parents=True)

    def path(self, oid: str) -> Path:
        """Where the file with this sha256 lies; ValueError for anything but 64 hex digits."""
        if not re.fullmatch("[0-9a-f]{64}", oid):
            raise ValueError(f"{oid!r} is not a sha256")
        return self.root / oid[:2] / oid[2:4] / oid

    def size(self, oid: str) -> int | None:
        """The size of a file in bytes; None when it is not here."""
        try:
            return self.path(oid).stat().st_size
        except FileNotFoundError:
            return None

    def has(self, pointer: Pointer) -> bool:
        """Whether the file is here, with this size."""
        return self.size(pointer.oid) == pointer.size

    def touch(self, oid: str) -> None:
        """Make a file young again, for `garbage`: who found it here needs it until the commit that will follow."""
        with suppress(FileNotFoundError):
            os.utime(self.path(oid))

    def receive(self, pointer: Pointer) -> "Arriving":
        """Begin to receive the file that `pointer` announces."""
        return Arriving(self.incoming, self.path(pointer.oid), pointer.size, pointer.oid)

    def receive_part(self, upload: str, number: int, size: int) -> "Arriving":
        """Begin to receive a part of a file. The names are ours: they come back in URLs that we have signed."""
        return Arriving(self.incoming, self.incoming / upload / str(number), size)

    def join(self, upload: str, pointer: Pointer) -> None:
        """Make the file of its parts, each of which goes away; ValueError when they are not what was announced."""
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


class Arriving:
    """A file on its way to `target`: `write` pieces, then `finish`; `abandon` in every other case.

    Its size must be right, and its sha256 unless none is known: that is a part, which need not survive a power cut.
    Pieces are collected in one of two blocks, while the other is hashed and written beside.
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
        self._beside = ThreadPoolExecutor(2)
        self._under_way: list[Future[None]] = []

    def write(self, piece: bytes) -> None:
        """Add one piece; ValueError when more comes than was announced."""
        self._received += len(piece)
        if self._received > self._size:
            raise ValueError(f"more than the announced {self._size} bytes came")
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
        """Keep the file; ValueError when size or sha256 is not what was announced."""
        if self._received != self._size:
            raise ValueError(f"{self._received} bytes came, {self._size} were announced")
        self._wait()
        _pass_the_cache(self._file.fileno(), False)  # what is left is no whole block
        self._begin(self._block[: self._filled])
        self._wait()
        if self._sha256 and self._hash.hexdigest() != self._sha256:
            raise ValueError(f"the sha256 of what came is {self._hash.hexdigest()}, {self._sha256} was announced")
        if self._sha256:
            os.fsync(self._file.fileno())
        self._file.close()
        self._target.parent.mkdir(parents=True, exist_ok=True)
        self._part.replace(self._target)
        if self._sha256:
            sync_folder(self._target.parent)

    def abandon(self) -> None:
        """Throw away what came; harmless after `finish`."""
        self._beside.shutdown()
        self._file.close()
        with suppress(OSError):
            self._part.unlink(missing_ok=True)

    def _begin(self, block: memoryview) -> None:
        self._under_way = [self._beside.submit(_write_all, self._file.fileno(), block)]
        if self._sha256:
            self._under_way.append(self._beside.submit(self._hash.update, block))

    def _wait(self) -> None:
        for one in self._under_way:
            one.result()
        self._under_way = []


def _write_all(descriptor: int, block: memoryview) -> None:
    while block:
        try:
            block = block[os.write(descriptor, block) :]
        except OSError as error:
            if error.errno != errno.EINVAL or not fcntl.fcntl(descriptor, fcntl.F_GETFL) & getattr(os, "O_DIRECT", 0):
                raise
            _pass_the_cache(descriptor, False)  # after a part of a block, or where it cannot be, though it was taken


def _pass_the_cache(descriptor: int, direct: bool) -> None:
    """Write past the page cache from now on, where the file system can: cheaper, and nothing else is driven out."""
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
