"""Xorbs, stored per repository: `xorbs/<repository id>/<address>/<hash>`, so that no hash opens another's content.

Clients remember for three weeks which chunks they sent to an address, and do not send them there again. So xorbs stay
as long as their address is valid; a new address (after a month, or when a xorb is missing) makes clients forget.
A xorb is accepted only if its chunks have the hash of its name, and a file rebuilt from it only if its sha256 is the
announced one.
A xorb is stored unpacked: the content, then the end of each chunk, then their hashes, then their number.
"""

import os
import secrets
import shutil
import struct
import threading
import time
from array import array
from collections.abc import Iterator
from contextlib import closing, suppress
from itertools import accumulate, groupby, pairwise
from pathlib import Path

from embedded_hub.store.lfs import LfsStore, Pointer
from embedded_hub.store.xet_format import CHUNKS_LIMIT, ChunkReader, Malformed, XetFile
from embedded_hub.store.xet_hash import Node, chunk_hash, xorb_hash

LIFETIME = 30 * 86400
"""Seconds for which one address is valid."""
PIECE = 1 << 20
_COUNT = struct.Struct("<I")
_HASH = 32


class MissingXorb(Exception):
    """A file refers to a missing xorb, or to chunks that the xorb does not have."""


class XetStore:
    """The folder of xorbs. Xorbs need not survive a power cut; the files rebuilt from them do."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.incoming = root / "incoming"
        shutil.rmtree(self.incoming, ignore_errors=True)  # uploads that a kill interrupted
        self.incoming.mkdir(parents=True)
        self._addresses = threading.Lock()
        self._rebuilding = [threading.Lock() for _ in range(256)]

    def address(self, repo: int) -> str:
        """Return the current address of a repository: a part of the URL for uploading xorbs."""
        with self._addresses:
            addresses = self._known(repo)
            return addresses[-1] if addresses and _age(addresses[-1]) < LIFETIME else self._new(repo)

    def renew(self, repo: int, address: str) -> None:
        """Replace the address `address`, unless another request has done so."""
        with self._addresses:
            if self._known(repo)[-1:] == [address]:
                self._new(repo)

    def receive(self, repo: int, address: str, xorb: str) -> "XorbUpload":
        """Begin to receive a xorb; FileNotFoundError if the address is no longer in use."""
        folder = self.root / str(repo) / address
        folder.stat()
        return XorbUpload(self.incoming / secrets.token_hex(16), folder / xorb)

    def content(self, repo: int, address: str, file: XetFile) -> Iterator[bytes]:
        """Yield the file's bytes in pieces. MissingXorb; ValueError if a segment has another length than announced."""
        for name, segments in groupby(file.segments, key=lambda segment: segment.xorb):
            try:
                with closing(_Xorb(self.root / str(repo) / address / name)) as xorb:
                    for segment in segments:
                        start, end = xorb.range(segment.first, segment.end)
                        if end - start != segment.size:
                            raise ValueError(f"chunks of {end - start} bytes were announced with {segment.size}")
                        yield from xorb.read(start, end)
            except (FileNotFoundError, IndexError) as error:
                raise MissingXorb(name) from error

    def rebuild(self, repo: int, address: str, file: XetFile, pointer: Pointer, lfs: LfsStore) -> None:
        """Rebuild the file in the LFS store. MissingXorb; ValueError if its sha256 is not the announced one."""
        file_upload = lfs.receive(pointer)
        try:
            for piece in self.content(repo, address, file):
                file_upload.write(piece)
            file_upload.finish()
        except ValueError:
            for name in {segment.xorb for segment in file.segments}:
                if not intact(self.root / str(repo) / address / name):
                    raise MissingXorb(name) from None
            raise
        finally:
            file_upload.abandon()

    def alone(self, sha256: str) -> threading.Lock:
        """Return the lock that lets only one request rebuild a file; the client's retry waits."""
        return self._rebuilding[int(sha256[:2], 16)]

    def forget(self, older_than: float, repos: set[int]) -> int:
        """Remove addresses of repositories not in `repos`, and those replaced `older_than` s ago; return how many."""
        removed = 0
        for folder in self.root.iterdir():
            if not folder.name.isdigit():
                continue
            with self._addresses:
                addresses, deleted = self._known(int(folder.name)), int(folder.name) not in repos
                if not deleted:
                    addresses = [old for old, newer in pairwise(addresses) if _age(newer) > older_than]
                removed += len(addresses)
                for path in [folder] if deleted else [folder / address for address in addresses]:
                    shutil.rmtree(path, ignore_errors=True)
        return removed

    def _known(self, repo: int) -> list[str]:
        with suppress(FileNotFoundError):
            return sorted(path.name for path in (self.root / str(repo)).iterdir())
        return []

    def _new(self, repo: int) -> str:
        address = f"{time.time_ns():020d}-{secrets.token_hex(8)}"  # sorted by age
        (self.root / str(repo) / address).mkdir(parents=True)
        return address


class XorbUpload:
    """An upload of one xorb: `write` pieces, then `finish`; `abandon` in every other case."""

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
        """Store the xorb. Malformed if it is cut off or its hash is not its name."""
        self._reader.end()
        if not self._chunks:
            raise Malformed("it does not have any chunks")
        hash_ = xorb_hash(self._chunks)
        if hash_ != self._target.name:
            raise Malformed(f"its chunks have the hash {hash_}")
        ends = array("I", accumulate(size for _, size in self._chunks))
        self._file.write(ends.tobytes() + b"".join(hash_ for hash_, _ in self._chunks) + _COUNT.pack(len(ends)))
        self._file.close()
        self._part.replace(self._target)

    def abandon(self) -> None:
        """Discard the upload; harmless after `finish`."""
        with suppress(OSError):
            self._file.close()
        with suppress(OSError):
            self._part.unlink(missing_ok=True)


class _Xorb:
    """An open xorb; IndexError if it is incomplete."""

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
        """Yield the chunks by their stored hashes; IndexError if one has changed."""
        for number, (start, end) in enumerate(pairwise((0, *self.ends))):
            hash_ = self.hashes[_HASH * number : _HASH * (number + 1)]
            if not start < end <= self.ends[-1]:
                raise IndexError
            if chunk_hash(os.pread(self._file.fileno(), end - start, start)) != hash_:
                raise IndexError
            yield hash_, end - start

    def range(self, first: int, end: int) -> tuple[int, int]:
        """Return the byte range of chunks; IndexError."""
        if not 0 <= first < end <= len(self.ends):
            raise IndexError
        return self.ends[first - 1] if first else 0, self.ends[end - 1]

    def read(self, start: int, end: int) -> Iterator[bytes]:
        """Yield a part of the content in pieces."""
        for at in range(start, end, PIECE):
            yield os.pread(self._file.fileno(), min(PIECE, end - at), at)

    def close(self) -> None:
        self._file.close()


def intact(path: Path) -> bool:
    """Return whether a stored xorb has the hash of its name; FileNotFoundError."""
    try:
        with closing(_Xorb(path)) as xorb:
            return xorb_hash(list(xorb.chunks())) == path.name
    except IndexError:
        return False


def _age(address: str) -> float:
    return time.time() - int(address.partition("-")[0]) / 1e9
