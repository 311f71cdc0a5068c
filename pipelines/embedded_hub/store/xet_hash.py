"""Xet's names of chunks and xorbs: keyed BLAKE3, and a tree of it. https://huggingface.co/docs/xet/hashing"""

from collections.abc import Iterator, Sequence

from blake3 import blake3

from embedded_hub.store.xet_format import hash_text

_CHUNK_KEY = bytes.fromhex("6697f5775b9550de3135cbaca597181c9de421109beb2b58b4d0b04b93adf229")
_NODE_KEY = bytes.fromhex("017ec5c7a5472996fd946666b48a02e65ddd536f37c76dd2f86352e64a53713f")
_WIDEST, _MEAN_WIDTH = 9, 4

Node = tuple[bytes, int]
"""The hash of a chunk or of a node's subtree, and its size in bytes."""


def chunk_hash(chunk: bytes | memoryview) -> bytes:
    """Return the 32 bytes that name a chunk's content."""
    return blake3(chunk, key=_CHUNK_KEY).digest()


def xorb_hash(chunks: Sequence[Node]) -> str:
    """Return the name of a xorb of these chunks, as 64 hex digits."""
    nodes = list(chunks) or [(bytes(32), 0)]
    while len(nodes) > 1:
        nodes = [_joined(group) for group in _groups(nodes)]
    return hash_text(nodes[0][0])


def _groups(nodes: list[Node]) -> Iterator[list[Node]]:
    """Yield groups of two to nine neighbours; from the third on, a hash divisible by four ends a group."""
    start = 0
    while start < len(nodes):
        group = nodes[start : start + _WIDEST]
        ends = (at + 1 for at in range(2, len(group)) if group[at][0][24] % _MEAN_WIDTH == 0)  # of the last 64 bits
        group = group[: next(ends, len(group))]
        yield group
        start += len(group)


def _joined(group: list[Node]) -> Node:
    lines = "".join(f"{hash_text(hash_)} : {size}\n" for hash_, size in group)
    return blake3(lines.encode(), key=_NODE_KEY).digest(), sum(size for _, size in group)
