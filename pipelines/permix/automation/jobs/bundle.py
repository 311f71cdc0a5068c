"""All that a Job needs, as one file: this very permix, its requirements at the versions here, and the command's files.

So a release and a checkout with changes of one's own travel alike, and a Job runs what its owner would run.
"""

import io
import json
import re
import tomllib
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path

import embedded_hub
from permix import files

PACKAGE = Path(files.__file__).resolve().parent
EMBEDDED_HUB = Path(embedded_hub.__file__).resolve().parent
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the same bytes for the same content, so that the Hub stores them once


def make(arguments: Sequence[str], contents: Mapping[str, bytes], extras: Iterable[str]) -> bytes:
    """A zip with permix, `contents` as the files of the folder that the command runs in, and what to install."""
    held = {name: path.read_bytes() for name, path in _packages()}
    held |= {f"files/{name}": data for name, data in contents.items()} | {"files/.keep": b""}
    held["arguments.json"] = json.dumps(list(arguments)).encode()
    held["requirements.json"] = json.dumps(requirements(extras)).encode()
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in sorted(held.items()):
            archive.writestr(zipfile.ZipInfo(name, _EPOCH), data, zipfile.ZIP_DEFLATED)
    return out.getvalue()


def requirements(extras: Iterable[str]) -> list[str]:
    """permix's own and those of `extras`: at the versions that are installed here, else in the range it declares."""
    return [_pinned(line) for line in _declared(set(extras))]


def _pinned(requirement: str) -> str:
    name = re.split(r"[^\w.-]", requirement, maxsplit=1)[0]
    try:
        return f"{name}=={metadata.version(name).partition('+')[0]}"
    except metadata.PackageNotFoundError:
        return requirement


def _declared(extras: set[str]) -> Iterator[str]:
    """From the checkout's pyproject.toml, or from the metadata of the installed package."""
    own = files.ROOT / "pyproject.toml"
    if own.is_file():
        project = tomllib.loads(own.read_text(encoding="utf-8"))["project"]
        yield from project["dependencies"]
        for extra in sorted(extras):
            yield from project["optional-dependencies"][extra]
        return
    for line in metadata.requires("permix") or []:
        requirement, _, marker = line.partition(";")
        of = re.search(r"extra == ['\"](\w+)['\"]", marker)
        if not of or of[1] in extras:
            yield requirement.strip()


def _packages() -> Iterator[tuple[str, Path]]:
    """(path, file) of both packages and their data, laid out as in a wheel."""
    folders = [("permix/", PACKAGE), ("embedded_hub/", EMBEDDED_HUB)]
    if files.ROOT != PACKAGE / "_data":
        data = (files.PERSONAS, files.CARDS, files.SPACES, files.RECIPES)
        folders += [(f"permix/_data/{folder.relative_to(files.ROOT).as_posix()}/", folder) for folder in data]
    for prefix, folder in folders:
        for path in sorted(folder.rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                yield prefix + path.relative_to(folder).as_posix(), path
