"""Xorbs, kept per repository: `xorbs/<repository id>/<address>/<hash>`, so that no hash opens another's content.

Clients remember which chunks they sent to an address, for three weeks, and never send them there again. So xorbs stay
as long as their address is handed out; a new address (after a month, or when a xorb is missing) makes clients forget.
A xorb is taken only when its chunks have the hash that is its name, and a file made from it is kept only when its
sha256 is the announced one.
A xorb lies here unpacked: the content, then where each chunk ends, then their hashes, then how many there are.
"""

import os
import secrets
import shutil
import struct
import threading
import time
from array import array
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from itertools import accumulate, pairwise
from pathlib import Path

from embedded_hub.store.lfs import LfsStore, Pointer
from embedded_hub.store.xet_format import CHUNKS_LIMIT, ChunkReader, Malformed, XetFile
from embedded_hub.store.xet_hash import Node, chunk_hash, xorb_hash

LIFETIME = 30 * 86400
"""Seconds for which one address is handed out."""
PIECE = 1 << 20
_COUNT = struct.Struct("<I")
_HASH = 32


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
        except ValueError:
            for name in {segment.xorb for segment in file.segments}:
                if not intact(self.root / str(repo) / address / name):
                    raise MissingXorb(name) from None
            raise
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
        self._file = part.open("xb")  # chunks are larger than its buffer, and pass it
        self._reader = ChunkReader()
        self._chunks: list[Node] = []

    def write(self, piece: bytes) -> None:
        """Add one piece. Malformed."""
        for chunk in self._reader.feed(piece):
            self._chunks.append((chunk_hash(chunk), len(chunk)))
            self._file.write(chunk)
        if len(self._chunks) > CHUNKS_LIMIT:
            raise Malformed(f"it has more than {CHUNKS_LIMIT} chunks")

    def finish(self) -> None:
        """Keep the xorb. Malformed when it breaks off or is not what its name says."""
        self._reader.end()
        if not self._chunks:
            raise Malformed("it has no chunks")
        found = xorb_hash(self._chunks)
        if found != self._target.name:
            raise Malformed(f"its chunks have the hash {found}")
        ends = array("I", accumulate(size for _, size in self._chunks))
        self._file.write(ends.tobytes() + b"".join(hash_ for hash_, _ in self._chunks) + _COUNT.pack(len(ends)))
        self._file.close()
        self._part.replace(self._target)

    def abandon(self) -> None:
        """Throw away what came; harmless after `finish`."""
        with suppress(OSError):
            self._file.close()
        with suppress(OSError):
            self._part.unlink(missing_ok=True)


class _Xorb:
    """An open xorb; IndexError when it is not whole."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb", buffering=0)
        length = self._file.seek(0, os.SEEK_END)
        tail = self._tail(length, _COUNT.size)
        count = _COUNT.unpack(tail)[0] if len(tail) == _COUNT.size else 0
        width = (4 + _HASH) * count
        table = self._tail(length - _COUNT.size, width) if width + _COUNT.size < length else b""
        self.ends = array("I", table[: 4 * count])
        self.hashes = table[4 * count :]
        if not self.ends or length != self.ends[-1] + width + _COUNT.size:
            self.close()
            raise IndexError  # a power cut took its end

    def _tail(self, end: int, size: int) -> bytes:
        return os.pread(self._file.fileno(), size, max(end - size, 0))

    def chunks(self) -> Iterator[Node]:
        """Its chunks by the hashes that were computed when they came; IndexError when one has changed since."""
        for number, (start, end) in enumerate(pairwise((0, *self.ends))):
            hash_ = self.hashes[_HASH * number : _HASH * (number + 1)]
            if not start < end <= self.ends[-1]:
                raise IndexError
            if chunk_hash(os.pread(self._file.fileno(), end - start, start)) != hash_:
                raise IndexError
            yield hash_, end - start

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


def intact(path: Path) -> bool:
    """Whether a kept xorb is what its name says; FileNotFoundError."""
    try:
        with closing(_Xorb(path)) as xorb:
            return xorb_hash(list(xorb.chunks())) == path.name
    except IndexError:
        return False


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
    except (FileNotFoundError, IndexError) as error:
        raise MissingXorb(name) from error
    finally:
        if xorb:
            xorb.close()


def _age(address: str) -> float:
    return time.time() - int(address.partition("-")[0]) / 1e9
