"""The bundle of a Job: this installation of permix, its requirements, and the files of the command, in one zip.

A checkout with local changes is bundled like a release, so a Job runs the same code as this machine.
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
    """Return a zip with permix, the requirements, and `contents` as the files of the command's working directory."""
    members = {name: path.read_bytes() for name, path in _packages()}
    members |= {f"files/{name}": data for name, data in contents.items()} | {"files/.keep": b""}
    members["arguments.json"] = json.dumps(list(arguments)).encode()
    members["requirements.json"] = json.dumps(requirements(extras)).encode()
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in sorted(members.items()):
            archive.writestr(zipfile.ZipInfo(name, _EPOCH), data, zipfile.ZIP_DEFLATED)
    return out.getvalue()


def requirements(extras: Iterable[str]) -> list[str]:
    """Return the requirements of permix and `extras`, pinned to the versions that are installed here, if they are."""
    return [_pinned(line) for line in _declared(set(extras))]


def _pinned(requirement: str) -> str:
    name = re.split(r"[^\w.-]", requirement, maxsplit=1)[0]
    try:
        return f"{name}=={metadata.version(name).partition('+')[0]}"
    except metadata.PackageNotFoundError:
        return requirement


def _declared(extras: set[str]) -> Iterator[str]:
    """Yield the declared requirements: of the checkout's pyproject.toml, or of the installed package's metadata."""
    pyproject = files.ROOT / "pyproject.toml"
    if pyproject.is_file():
        project = tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]
        yield from project["dependencies"]
        for extra in sorted(extras):
            yield from project["optional-dependencies"][extra]
        return
    for line in metadata.requires("permix") or []:
        requirement, _, marker = line.partition(";")
        match = re.search(r"extra == ['\"](\w+)['\"]", marker)
        if not match or match[1] in extras:
            yield requirement.strip()


def _packages() -> Iterator[tuple[str, Path]]:
    """Yield (path in the zip, file) of both packages and their data, with the layout of a wheel."""
    folders = [("permix/", PACKAGE), ("embedded_hub/", EMBEDDED_HUB)]
    if files.ROOT != PACKAGE / "_data":
        data = (files.PERSONAS, files.CARDS, files.SPACES, files.RECIPES)
        folders += [(f"permix/_data/{folder.relative_to(files.ROOT).as_posix()}/", folder) for folder in data]
    for prefix, folder in folders:
        for path in sorted(folder.rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                yield prefix + path.relative_to(folder).as_posix(), path
