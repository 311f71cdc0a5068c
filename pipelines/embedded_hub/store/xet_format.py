"""The two formats of a Xet upload, as https://huggingface.co/docs/xet specifies them.

A xorb is a sequence of chunks; a shard lists the chunks of each file. Every length in them is unverified input.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import lz4.frame

CHUNK_LIMIT = 128 << 10
"""Bytes of the largest chunk that clients cut."""
CHUNKS_LIMIT = 1 << 14
XORB_LIMIT = 66 << 20
"""Bytes of a xorb in transfer: clients close one at 64 MiB of content or 8,192 chunks."""
SHARD_LIMIT = 64 << 20

_CHUNK = struct.Struct("<B3sB3s")
_FOOTER = b"XETBLOB"
"""The first bytes of a footer that older clients send after the last chunk; it repeats the chunks' headers."""

_RECORD = 48
_TAG = b"HFRepoMetaData\0" + bytes.fromhex("556967456a7b815783a5bdd95ccdd14aa9")
_VERSION = 2
_BOOKEND = b"\xff" * 32
_VERIFIED, _WITH_SHA256 = 1 << 31, 1 << 30


class Malformed(ValueError):
    """Bytes that are not a xorb or shard; the message fits the middle of a sentence."""


@dataclass(frozen=True)
class Segment:
    """`size` bytes of a file: the chunks `first` up to, not including, `end` of the xorb `xorb` (64 hex digits)."""

    xorb: str
    size: int
    first: int
    end: int


@dataclass(frozen=True)
class XetFile:
    """One file of a shard: `count` segments from the byte `start` on, read on demand, since there may be a million."""

    hash: str
    """Xet's own hash of the content's chunks; only buckets use it, as a name."""
    sha256: str | None
    """None for files of buckets."""
    shard: memoryview
    start: int
    count: int

    @property
    def segments(self) -> Iterator[Segment]:
        """The segments, in order."""
        for number in range(self.count):
            xorb, _, size, first, end = struct.unpack_from("<32sIIII", self.shard, self.start + number * _RECORD)
            yield Segment(hash_text(xorb), size, first, end)

    @cached_property
    def size(self) -> int:
        """The number of bytes of the file."""
        return sum(segment.size for segment in self.segments)


class ChunkReader:
    """Split a xorb, in pieces of any size, into unpacked chunks. A chunk may be a view, valid until the next one."""

    def __init__(self) -> None:
        self._waiting = bytearray()
        self._ended = False
        self.taken = 0

    def feed(self, piece: bytes) -> Iterator[bytes | memoryview]:
        """Yield the chunks that `piece` completes. Malformed."""
        self.taken += len(piece)
        if self.taken > XORB_LIMIT:
            raise Malformed(f"it is longer than {XORB_LIMIT >> 20} MiB")
        if self._ended:
            return
        self._waiting += piece
        at = 0
        with memoryview(self._waiting) as view:
            while len(view) - at >= _CHUNK.size:
                if view[at : at + len(_FOOTER)] == _FOOTER:
                    self._ended = True
                    at = len(view)
                    break
                scheme, packed, size = _chunk_header(view[at : at + _CHUNK.size])
                start = at + _CHUNK.size
                if len(view) - start < packed:
                    break
                at = start + packed
                with view[start:at] as chunk:
                    yield _unpacked(scheme, chunk, size)
        del self._waiting[:at]

    def end(self) -> None:
        """Mark the end of the bytes. Malformed if the last chunk is cut off."""
        if self._waiting:
            raise Malformed("its last chunk is cut off")


def files_in(shard: memoryview) -> Iterator[XetFile]:
    """Yield the files of a shard. Malformed."""
    length = len(shard)
    if length < _RECORD or shard[:32] != _TAG:
        raise Malformed("it does not begin as a shard does")
    version, footer = struct.unpack_from("<QQ", shard, 32)
    if version != _VERSION or footer:
        raise Malformed(f"its version is {version} with a footer of {footer} bytes, not {_VERSION} without one")
    at = _RECORD
    while True:
        if length - at < _RECORD:
            raise Malformed("it ends within the list of files")
        key, flags, count = struct.unpack_from("<32sII", shard, at)
        if key == _BOOKEND:
            return
        start, after = at + _RECORD, at + _RECORD * (1 + count + (count if flags & _VERIFIED else 0))
        end = after + (_RECORD if flags & _WITH_SHA256 else 0)
        if length < end + _RECORD:
            raise Malformed("it ends within a file")
        sha256 = hash_text(struct.unpack_from("<32s", shard, after)[0]) if flags & _WITH_SHA256 else None
        yield XetFile(hash_text(key), sha256, shard, start, count)
        at = end


def _chunk_header(header: memoryview) -> tuple[int, int, int]:
    version, packed_, scheme, size_ = _CHUNK.unpack(header)
    packed, size = int.from_bytes(packed_, "little"), int.from_bytes(size_, "little")
    if version != 0:
        raise Malformed(f"a chunk has the version {version}, not 0")
    if not 0 < size <= CHUNK_LIMIT or not 0 < packed <= 2 * CHUNK_LIMIT:
        raise Malformed(f"a chunk of {size} bytes in {packed} is none that a client cuts")
    return scheme, packed, size


def _unpacked(scheme: int, packed: memoryview, size: int) -> bytes | memoryview:
    if scheme not in (0, 1, 2):
        raise Malformed(f"a chunk has the compression {scheme}, which is unknown here")
    content = _decompressed(packed, size) if scheme else packed
    if len(content) != size:
        raise Malformed(f"a chunk has {len(content)} bytes, not the {size} of its header")
    return _ungrouped(bytes(content)) if scheme == 2 else content


def _decompressed(packed: memoryview, size: int) -> bytes:
    unpacking = lz4.frame.LZ4FrameDecompressor()
    try:
        content: bytes = unpacking.decompress(packed, max_length=size + 1)  # whatever the frame claims
    except (RuntimeError, ValueError, EOFError, MemoryError) as error:
        raise Malformed(f"a chunk cannot be decompressed: {error}") from None
    if not unpacking.eof:
        raise Malformed("a chunk does not end where its header says")
    return content


def _ungrouped(data: bytes) -> bytes:
    """Undo "byte grouping by 4": first all bytes at 0 mod 4, then all at 1 mod 4, and so on."""
    content, at = bytearray(len(data)), 0
    for offset in range(4):
        count = (len(data) - offset + 3) // 4
        content[offset::4] = data[at : at + count]
        at += count
    return bytes(content)


def hash_text(hash_: bytes) -> str:
    """Return a hash as Xet writes it: four little-endian 64-bit numbers."""
    return "".join(f"{number:016x}" for number in struct.unpack("<4Q", hash_))
