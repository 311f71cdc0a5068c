"""The header of a GGUF file: its metadata and its list of tensors (ggml-org/ggml, docs/gguf.md)."""

import mmap
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from permix.errors import BadInput

MAGIC = b"GGUF"
VERSIONS = (2, 3)
ALIGNMENT = 32
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9


@dataclass(frozen=True)
class Tensor:
    """A tensor in the file; `type` is ggml's number of its quantisation, `offset` counts from the start of the file."""

    name: str
    shape: tuple[int, ...]
    type: int
    offset: int

    @property
    def elements(self) -> int:
        """The number of weights."""
        count = 1
        for size in self.shape:
            count *= size
        return count


@dataclass(frozen=True)
class Header:
    """The metadata and tensors of a GGUF file."""

    metadata: Mapping[str, Any]
    tensors: tuple[Tensor, ...]

    @property
    def architecture(self) -> str:
        """The name of the architecture, as llama.cpp calls it."""
        return str(self.metadata.get("general.architecture", ""))

    @property
    def parameters(self) -> int:
        """The number of weights in all tensors."""
        return sum(tensor.elements for tensor in self.tensors)


def is_gguf(path: Path) -> bool:
    """Return whether the file begins as a GGUF file does."""
    with path.open("rb") as file:
        return file.read(len(MAGIC)) == MAGIC


def read(path: Path) -> Header:
    """Return the header of a GGUF file; raise BadInput if the file ends inside it, or has an unknown version."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        try:
            version, tensor_count, metadata_count = struct.unpack_from("<IQQ", content, len(MAGIC))
            if version not in VERSIONS:
                raise BadInput(f"{path} has version {version} of GGUF: convert the model with a newer llama.cpp.")
            return _header(content, tensor_count, metadata_count)
        except (struct.error, UnicodeDecodeError, OverflowError, MemoryError, KeyError) as error:
            raise BadInput(
                f"{path} is cut short or damaged: its {len(content):,} bytes end before its list of tensors does "
                f"({error}). Download it again."
            ) from None


def _header(content: mmap.mmap, tensor_count: int, metadata_count: int) -> Header:
    metadata: dict[str, Any] = {}
    position = 24
    for _ in range(metadata_count):
        key, position = _string(content, position)
        (kind,) = struct.unpack_from("<I", content, position)
        metadata[key], position = _value(content, position + 4, kind)
    infos = []
    for _ in range(tensor_count):
        name, position = _string(content, position)
        (dimensions,) = struct.unpack_from("<I", content, position)
        *shape, kind, offset = struct.unpack_from(f"<{dimensions}QIQ", content, position + 4)
        position += 4 + 8 * dimensions + 12
        infos.append((name, tuple(shape), kind, offset))
    alignment = metadata.get("general.alignment", ALIGNMENT)
    start = -(-position // alignment) * alignment
    return Header(metadata, tuple(Tensor(name, shape, kind, start + offset) for name, shape, kind, offset in infos))


def _value(content: mmap.mmap, position: int, kind: int) -> tuple[Any, int]:
    if kind == _STRING:
        return _string(content, position)
    if kind != _ARRAY:
        (number,) = struct.unpack_from(f"<{_SCALARS[kind]}", content, position)
        return number, position + struct.calcsize(f"<{_SCALARS[kind]}")
    element_kind, count = struct.unpack_from("<IQ", content, position)
    position += 12
    if element_kind in _SCALARS:
        form = f"<{count}{_SCALARS[element_kind]}"
        return list(struct.unpack_from(form, content, position)), position + struct.calcsize(form)
    elements = []
    for _ in range(count):
        element, position = _value(content, position, element_kind)
        elements.append(element)
    return elements, position


def _string(content: mmap.mmap, position: int) -> tuple[str, int]:
    (length,) = struct.unpack_from("<Q", content, position)
    (text,) = struct.unpack_from(f"<{length}s", content, position + 8)
    return text.decode(), position + 8 + length
