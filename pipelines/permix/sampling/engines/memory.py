"""The memory that a base needs and that this machine has, compared before the base is loaded."""

import json
import os
import struct
from collections.abc import Iterator, Mapping
from math import prod
from pathlib import Path
from typing import Any

from permix.errors import BadInput

GB = 1e9
ITEM_BYTES = {"float32": 4.0, "bfloat16": 2.0, "float16": 2.0}
NF4_BYTES = 0.5625
"""Bytes of one weight in nf4: four bits, and one float32 scale for 64 weights."""
SETTINGS = {"bfloat16": "dtype bfloat16", "nf4": "dtype nf4"}
"""{smaller dtype: how the settings of an engine ask for it}."""
_MEMINFO, _GROUPS = Path("/proc/meminfo"), Path("/sys/fs/cgroup")


def available() -> int:
    """Return the bytes of memory that are free for a new program: of the machine, or of its control group if less."""
    if not _MEMINFO.is_file():
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    sizes = dict(line.split(":") for line in _MEMINFO.read_text(encoding="utf-8").splitlines())
    return min(int(sizes["MemAvailable"].split()[0]) * 1024, *_group_rooms())


def _group_rooms() -> Iterator[int]:
    """Yield the free bytes of each control group (version 2) of this process that has a limit."""
    yield 1 << 62
    own = next((line[3:] for line in _lines(Path("/proc/self/cgroup")) if line.startswith("0::")), "/")
    group = _GROUPS / own.strip("/")
    for folder in (group, *group.parents):
        limit, used = _lines(folder / "memory.max"), _lines(folder / "memory.current")
        if limit and used and limit[0].isdecimal():
            cached = next((int(row.split()[1]) for row in _lines(folder / "memory.stat") if "inactive_file" in row), 0)
            yield max(int(limit[0]) - int(used[0]) + cached, 0)


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except OSError:
        return []


def weights_bytes(folder: Path, dtype: str) -> int:
    """Return the bytes of the model in `folder` in `dtype`, from the headers of its safetensors; 0 without any."""
    return sum(round(prod(shape) * size) for shape, size in _weights(folder, dtype))


def _weights(folder: Path, dtype: str) -> Iterator[tuple[list[int], float]]:
    """Yield shape and bytes per weight of every tensor; weights that are packed in the file stay as they are."""
    for path in sorted(folder.glob("model*.safetensors")):
        try:
            with path.open("rb") as file:
                entries: dict[str, Any] = json.loads(file.read(*struct.unpack("<Q", file.read(8))))
        except (ValueError, struct.error, MemoryError, OverflowError):
            continue  # the loader has a sentence for a damaged file
        for name, entry in entries.items():
            if name == "__metadata__":
                continue
            shape = list(entry["shape"])
            if "F" not in entry["dtype"]:
                start, end = entry["data_offsets"]
                yield [1], end - start
            elif dtype in ITEM_BYTES:
                yield shape, ITEM_BYTES[dtype]
            else:  # bitsandbytes packs the linear layers only
                linear = len(shape) == 2 and not any(part in name for part in ("embed", "lm_head"))
                yield shape, NF4_BYTES if linear else ITEM_BYTES["bfloat16"]


def refuse_too_large(
    name: object,
    folder: Path,
    dtype: str,
    *,
    cuda: bool,
    settings: Mapping[str, str] = SETTINGS,
    otherwise: str = "an endpoint",
) -> None:
    """Raise BadInput if the weights in `folder`, in `dtype`, are larger than the free memory.

    `name` is the base in the error. It offers the smaller dtypes of `settings` that fit, a smaller base, and
    `otherwise`. On a GPU (`cuda`) the weights pass through the machine's memory, except in 4 bits.
    """
    rooms = {} if cuda and dtype not in ITEM_BYTES else {"memory": available()}
    if cuda:
        import torch

        rooms["memory of the GPU"] = torch.cuda.mem_get_info()[0]
    needed = weights_bytes(folder, dtype)
    for memory, room in rooms.items():
        if needed > room:
            smaller = {setting: weights_bytes(folder, kind) for kind, setting in settings.items()}
            fitting = [f"{way} ({size / GB:.1f} GB), " for way, size in smaller.items() if size < min(needed, room)]
            raise BadInput(
                f"{name} needs {needed / GB:.1f} GB in {dtype}, and {room / GB:.1f} GB of {memory} are free: "
                f"use {''.join(fitting)}a smaller base or {otherwise}."
            )
