"""The data files of a dataset, and the first rows of each split."""

import fnmatch
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from embedded_hub.request import HubRequest, OpenRepository
from embedded_hub.store import card_metadata
from embedded_hub.store.git_reader import Entry
from embedded_hub.web.first_rows import FORMATS, Table, first_rows

SPLITS, PATTERNS, REMEMBERED = 12, 200, 64
Split = tuple[str, str, str]
"""Configuration, split, the path of its first file."""

_remembered: dict[tuple[Any, ...], list[Table]] = {}


def preview(
    request: HubRequest, repository: OpenRepository, commit: str, metadata: dict[str, Any]
) -> tuple[list[tuple[Split, Table]], list[Split]]:
    """Return the first rows of the first splits, and the splits whose rows are omitted."""
    paths = [path for path, _ in repository.git.files(commit) if Path(path).suffix in FORMATS]
    splits = list(_declared(metadata, paths)) or [("", "", path) for path in paths]
    entries = [repository.entry(commit, path) for _, _, path in splits[:SPLITS]]
    tables = _tables(request, repository, entries) if entries else []
    return list(zip(splits, tables, strict=False)), splits[SPLITS:]


def _tables(request: HubRequest, repository: OpenRepository, entries: list[Entry]) -> list[Table]:
    pointers = request.pointers(repository, entries)
    key = tuple((entry.oid, entry.path in pointers, Path(entry.path).suffix) for entry in entries)
    if key not in _remembered:
        with tempfile.TemporaryDirectory(prefix="permix-rows-") as folder:
            files = []
            for number, entry in enumerate(entries):
                pointer = pointers.get(entry.path)
                path = request.context.lfs.path(pointer.oid) if pointer else Path(folder) / str(number)
                if not pointer:
                    path.write_bytes(repository.git.read(entry.oid))
                files.append((path, FORMATS[Path(entry.path).suffix]))
            tables = first_rows(files)
        while len(_remembered) >= REMEMBERED:
            _remembered.pop(next(iter(_remembered)), None)
        _remembered[key] = tables
    return _remembered.get(key, [])


def _declared(metadata: dict[str, Any], paths: list[str]) -> Iterator[Split]:
    """Yield the splits that the card's `configs` declare and that have a file."""
    budget = PATTERNS
    for config in card_metadata.words(metadata.get("configs")):
        if not isinstance(config, dict):
            continue
        for data_file in card_metadata.words(config.get("data_files")):
            files = data_file if isinstance(data_file, dict) else {"split": "train", "path": data_file}
            patterns = [str(pattern)[:300].removeprefix("./") for pattern in card_metadata.words(files.get("path"))]
            budget -= len(patterns)
            if budget < 0:
                return
            first = next((path for pattern in patterns for path in fnmatch.filter(paths, pattern)), None)
            if first:
                yield str(config.get("config_name", "default"))[:80], str(files.get("split", "train"))[:80], first
