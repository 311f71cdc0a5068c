"""Xet uploads by hand: chunks, xorbs and shards. Needs nothing of permix."""

import hashlib
import struct
from contextlib import suppress
from typing import Any

import lz4.frame

from embedded_hub.store.xet_format import ChunkReader, Malformed
from embedded_hub.store.xet_hash import chunk_hash, xorb_hash
from tests.support.wire import Wire

MAGIC = b"HFRepoMetaData\0" + bytes.fromhex("556967456a7b815783a5bdd95ccdd14aa9")
OTHER = "ab" * 32


def chunk(content: bytes, scheme: int = 0, size: int | None = None) -> bytes:
    packed = content if scheme == 0 else lz4.frame.compress(content if scheme == 1 else grouped(content))
    sizes = (len(packed).to_bytes(3, "little"), (len(content) if size is None else size).to_bytes(3, "little"))
    return b"\0" + sizes[0] + bytes([scheme]) + sizes[1] + packed


def grouped(content: bytes) -> bytes:
    return b"".join(content[offset::4] for offset in range(4))


def as_numbers(hash_: str) -> bytes:
    return struct.pack("<4Q", *(int(hash_[at : at + 16], 16) for at in range(0, 64, 16)))


def shard(files: list[tuple[str, list[tuple[str, int, int, int]]]]) -> bytes:
    """Return a shard of files (sha256, segments), a segment being (xorb, bytes, first chunk, end chunk)."""
    out = MAGIC + struct.pack("<QQ", 2, 0)
    for sha256, segments in files:
        out += bytes(32) + struct.pack("<IIQ", 1 << 31 | 1 << 30, len(segments), 0)
        out += b"".join(as_numbers(xorb) + struct.pack("<IIII", 0, *numbers) for xorb, *numbers in segments)
        out += bytes(48) * len(segments) + as_numbers(sha256) + bytes(16)
    return out + b"\xff" * 32 + bytes(16)


class Cas:
    """The address of a Xet token, used by hand."""

    def __init__(self, wire: Wire, repo: str, revision: str = "main") -> None:
        answer = wire("GET", f"/api/models/{repo}/xet-write-token/{revision}")
        assert answer.status == 200, answer.body
        self.url, self.token, self.until = (answer.json[key] for key in ("casUrl", "accessToken", "exp"))
        assert [answer.headers[f"x-xet-{key}"] for key in ("cas-url", "access-token", "token-expiration")] == [
            self.url, self.token, str(self.until),
        ]  # fmt: skip
        self._wire = Wire(wire.port, None)

    def __call__(self, path: str, body: bytes, token: str | None = None) -> Any:
        bearer = self.token if token is None else token
        return self._wire("POST", f"{self.url}{path}", body, Authorization=f"Bearer {bearer}")

    def xorb(self, *chunks: bytes, name: str | None = None) -> int:
        return int(self(f"/v1/xorbs/default/{name or name_of(*chunks)}", b"".join(chunks)).status)

    def shard(self, *files: tuple[str, list[tuple[str, int, int, int]]]) -> int:
        return int(self("/v1/shards", shard(list(files))).status)


def name_of(*chunks: bytes) -> str:
    """Return the name of a xorb of these chunks; an arbitrary one for malformed chunks."""
    with suppress(Malformed):
        return xorb_hash([(chunk_hash(piece), len(piece)) for piece in ChunkReader().feed(b"".join(chunks))])
    return OTHER


def sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
