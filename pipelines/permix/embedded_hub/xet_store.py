"""Xorbs, kept per repository: `xorbs/<repository id>/<address>/<hash>`, so that no hash opens another's content.

Clients remember which chunks they sent to an address, for three weeks, and never send them there again. So xorbs stay
as long as their address is handed out; a new address (after a month, or when a xorb is missing) makes clients forget.
Xet names xorbs and chunks by keyed BLAKE3, which neither Python nor hf_xet computes for others: a xorb is taken as what
its name says, and a file made from it is kept only when its sha256 is the announced one.
A xorb lies here unpacked: the content, then where each chunk ends, then how many there are.
"""

import os
import secrets
import shutil
import struct
import threading
import time
from array import array
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import pairwise
from pathlib import Path

from permix.embedded_hub.lfs_store import LfsStore, Pointer
from permix.embedded_hub.xet_format import CHUNKS_LIMIT, ChunkReader, Malformed, XetFile

LIFETIME = 30 * 86400
"""Seconds for which one address is handed out."""
PIECE = 1 << 20
_COUNT = struct.Struct("<I")


class MissingXorb(Exception):
    """A file refers to a xorb that is not here, or to chunks that it does not have."""


class XetStore:
    """The folder of xorbs. They need not survive a power cut: the files made from them do."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.incoming = root / "incoming"
        shutil.rmtree(self.incoming, ignore_errors=True)  # uploads that a kill interrupted
        self.incoming.mkdir(parents=True)
        self._addresses = threading.Lock()
        self._rebuilding = [threading.Lock() for _ in range(256)]

    def address(self, repo: int) -> str:
        """The current address of a repository: it stands in the URL that clients send their xorbs to."""
        with self._addresses:
            known = self._known(repo)
            return known[-1] if known and _age(known[-1]) < LIFETIME else self._new(repo)

    def renew(self, repo: int, address: str) -> None:
        """Hand out another address from now on, unless that has happened since `address`."""
        with self._addresses:
            if self._known(repo)[-1:] == [address]:
                self._new(repo)

    def receive(self, repo: int, address: str, xorb: str) -> "XorbUpload":
        """Begin to receive a xorb; FileNotFoundError when the address is no longer in use."""
        folder = self.root / str(repo) / address
        folder.stat()
        return XorbUpload(self.incoming / secrets.token_hex(16), folder / xorb)

    def content(self, repo: int, address: str, file: XetFile) -> Iterator[bytes]:
        """The file's bytes, in pieces. MissingXorb; ValueError when its segments have other lengths than announced."""
        return _content(self.root / str(repo) / address, file)

    def rebuild(self, repo: int, address: str, file: XetFile, pointer: Pointer, lfs: LfsStore) -> None:
        """Put the file together in the LFS store. MissingXorb; ValueError when that does not give its sha256."""
        arriving = lfs.receive(pointer)
        try:
            for piece in self.content(repo, address, file):
                arriving.write(piece)
            arriving.finish()
        finally:
            arriving.abandon()

    @contextmanager
    def alone(self, sha256: str) -> Iterator[None]:
        """While one request rebuilds a file, the client's retry of it waits."""
        with self._rebuilding[int(sha256[:2], 16)]:
            yield

    def forget(self, older_than: float, there: set[int]) -> int:
        """Remove xorbs that nobody is sent to: repositories not in `there`, addresses given up `older_than` s ago."""
        removed = 0
        for folder in self.root.iterdir():
            if not folder.name.isdigit():
                continue
            with self._addresses:
                known = self._known(int(folder.name))
                gone = int(folder.name) not in there
                given_up = [one for one, next_ in pairwise(known) if _age(next_) > older_than]
                removed += len(known if gone else given_up)
                for address in known if gone else given_up:
                    shutil.rmtree(folder / address, ignore_errors=True)
                if gone:
                    shutil.rmtree(folder, ignore_errors=True)
        return removed

    def _known(self, repo: int) -> list[str]:
        with suppress(FileNotFoundError):
            return sorted(one.name for one in (self.root / str(repo)).iterdir())
        return []

    def _new(self, repo: int) -> str:
        made = f"{time.time_ns():020d}-{secrets.token_hex(8)}"  # sorted by age
        (self.root / str(repo) / made).mkdir(parents=True)
        return made


class XorbUpload:
    """One xorb on its way in: `write` pieces, then `finish`; `abandon` in every other case."""

    def __init__(self, part: Path, target: Path) -> None:
        self._part, self._target = part, target
        self._file = part.open("xb", buffering=PIECE)
        self._chunks, self._ends, self._end = ChunkReader(), array("I"), 0

    def write(self, piece: bytes) -> None:
        """Add one piece. Malformed."""
        for chunk in self._chunks.feed(piece):
            self._end += len(chunk)
            self._ends.append(self._end)
            self._file.write(chunk)
        if len(self._ends) > CHUNKS_LIMIT:
            raise Malformed(f"it has more than {CHUNKS_LIMIT} chunks")

    def finish(self) -> None:
        """Keep the xorb, in place of one of the same name. Malformed when it breaks off."""
        self._chunks.end()
        self._file.write(self._ends.tobytes() + _COUNT.pack(len(self._ends)))
        self._file.close()
        self._part.replace(self._target)

    def abandon(self) -> None:
        """Throw away what came; harmless after `finish`."""
        with suppress(OSError):
            self._file.close()
        with suppress(OSError):
            self._part.unlink(missing_ok=True)


class _Xorb:
    """An open xorb."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb", buffering=0)
        length = self._file.seek(0, os.SEEK_END)
        self._file.seek(max(length - _COUNT.size, 0))
        (count,) = _COUNT.unpack(self._file.read(_COUNT.size))
        self.ends = array("I")
        self._file.seek(length - _COUNT.size * (count + 1))
        self.ends.frombytes(self._file.read(_COUNT.size * count))
        if length != (self.ends[-1] if count else 0) + _COUNT.size * (count + 1):
            raise IndexError  # a power cut took its end

    def range(self, first: int, end: int) -> tuple[int, int]:
        """Where chunks lie in the content; IndexError."""
        if not 0 <= first < end <= len(self.ends):
            raise IndexError
        return self.ends[first - 1] if first else 0, self.ends[end - 1]

    def read(self, start: int, end: int) -> Iterator[bytes]:
        """A part of the content in pieces."""
        for at in range(start, end, PIECE):
            yield os.pread(self._file.fileno(), min(PIECE, end - at), at)

    def close(self) -> None:
        self._file.close()


def _content(folder: Path, file: XetFile) -> Iterator[bytes]:
    name, xorb = "", None
    try:
        for segment in file.segments:
            if xorb is None or segment.xorb != name:
                if xorb:
                    xorb.close()
                name, xorb = segment.xorb, None
                xorb = _Xorb(folder / name)
            start, end = xorb.range(segment.first, segment.end)
            if end - start != segment.size:
                raise ValueError(f"chunks of {end - start} bytes were announced with {segment.size}")
            yield from xorb.read(start, end)
    except (FileNotFoundError, IndexError, struct.error) as error:
        raise MissingXorb(name) from error
    finally:
        if xorb:
            xorb.close()


def _age(address: str) -> float:
    return time.time() - int(address.partition("-")[0]) / 1e9
