"""Refuse a GGUF file that cannot be imported, before anything but its header is read."""

import functools
import importlib.util
import shutil
from pathlib import Path
from typing import Any

from permix.errors import BadInput
from permix.publishing import gguf_header
from permix.publishing.gguf_header import Header
from permix.sampling.engines import memory

DTYPES = tuple(memory.ITEM_BYTES)
PACKAGES = ("gguf", "torch", "transformers", "accelerate")


def check(path: Path, dtype: str, root: Path) -> Header:
    """Return the header of a GGUF file that can be imported into the embedded Hub with its data in `root`.

    BadInput for a file, dtype or machine with which that cannot work.
    """
    if dtype not in DTYPES:
        raise BadInput(f"The dtype is {dtype!r}: it should be {', '.join(DTYPES)}.")
    if not gguf_header.is_gguf(path):
        raise BadInput(f"{path} is not a GGUF file, which begins with the letters GGUF: give one, or a folder.")
    if missing := [name for name in PACKAGES if importlib.util.find_spec(name) is None]:
        extras = "gguf" if missing == ["gguf"] else "train,gguf"
        names = ", ".join(missing)
        raise BadInput(f"Reading a GGUF file needs {names}, not installed here: pip install 'permix[{extras}]'.")
    header = gguf_header.read(path)
    if (parts := header.metadata.get("split.count", 1)) > 1:
        raise BadInput(f"{path} is one of {parts} parts: join them first, with `llama-gguf-split --merge`.")
    if (kind := header.metadata.get("general.type", "model")) != "model":
        raise BadInput(f"{path} holds a file of type {kind!r}: give a GGUF file with a whole model.")
    if not header.metadata.get("tokenizer.ggml.tokens") or not header.metadata.get("tokenizer.ggml.model"):
        raise BadInput(f"{path} lacks a tokenizer: give a GGUF file with `tokenizer.ggml.*`, as llama.cpp writes it.")
    _check_tensors(path, header)
    _check_room(path, header, dtype, root)
    return header


def _check_tensors(path: Path, header: Header) -> None:
    """Raise BadInput for a quantisation that is not read, and for a file that ends before its tensors do."""
    import gguf

    end, kinds = 0, {int(kind): kind for kind in gguf.GGMLQuantizationType}
    for tensor in header.tensors:
        kind = kinds.get(tensor.type)
        if kind is None or not _is_read(kind):
            raise BadInput(
                f"{path} has the quantisation {kind.name if kind else tensor.type} ({tensor.name}), which is not "
                "read: give a file in another (Q4_K_M, Q8_0, F16), or install a newer gguf."
            )
        block, size = gguf.GGML_QUANT_SIZES[kind]
        end = max(end, tensor.offset + tensor.elements // block * size)
    if end > (length := path.stat().st_size):
        raise BadInput(f"{path} is cut short: it has {length:,} of {end:,} bytes. Download it again.")


@functools.cache
def _is_read(kind: Any) -> bool:
    """Return whether the package gguf can unpack this quantisation."""
    import gguf
    import numpy as np

    try:
        gguf.dequantize(np.zeros((1, gguf.GGML_QUANT_SIZES[kind][1]), np.uint8), kind)
    except NotImplementedError:
        return False
    return True


def _check_room(path: Path, header: Header, dtype: str, root: Path) -> None:
    """Raise BadInput where memory or disk are too small."""
    # A tensor is unpacked in float32, with a copy; experts stay in float32 until all are there.
    largest = max((tensor.elements for tensor in header.tensors), default=0)
    experts = sum(tensor.elements for tensor in header.tensors if "_exps." in tensor.name)
    needed = bytes_of(header, dtype) + 8 * largest + 4 * experts
    if needed > (free := memory.available()):
        raise BadInput(
            f"{path} needs {needed / memory.GB:.1f} GB of memory in {dtype}, and {free / memory.GB:.1f} GB are free: "
            "import a smaller model, or use a machine with more memory."
        )
    folder = next(parent for parent in (root, *root.parents) if parent.exists())
    needed = 2 * bytes_of(header, dtype)  # the converted files, and the Hub's copy
    if needed > (free := shutil.disk_usage(folder).free):
        raise BadInput(
            f"{path} needs {needed / memory.GB:.1f} GB on the disk of {folder} in {dtype}, and "
            f"{free / memory.GB:.1f} GB are free: make room, or choose another disk with PERMIX_HOME or --root."
        )


def bytes_of(header: Header, dtype: str) -> int:
    """Return the bytes of the weights in `dtype`."""
    return round(header.parameters * memory.ITEM_BYTES[dtype])
