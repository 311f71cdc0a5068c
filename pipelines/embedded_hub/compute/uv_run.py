"""`uv run` for Jobs of the embedded Hub where uv is not installed: this Python with its installed packages.

A separate program: `python uv_run.py run [--with PACKAGE]… [--python VERSION] SCRIPT|URL|COMMAND [ARGUMENT]…`. The
packages of a script (PEP 723) and of --with must be installed here; an error lists the missing ones.
"""

import importlib.metadata
import os
import re
import shutil
import sys
import tempfile
import tomllib
import urllib.request
from collections.abc import Iterable
from pathlib import Path
from typing import NoReturn

_BLOCK = re.compile(r"^# /// script$\s(?P<content>(^#(| .*)$\s)+)^# ///$", re.MULTILINE)
_VALUED = ("--with", "-w", "--python", "-p")


def main() -> None:
    """Replace this process by the script."""
    words = sys.argv[1:]
    uv = shutil.which("uv")
    if uv:
        _become(uv, words)
    if words[:1] != ["run"]:
        sys.exit("uv is not installed, and without it the embedded Hub supports only `uv run`.")
    requirements, rest = _options(words[1:])
    if not rest:
        sys.exit("`uv run` needs a script, a URL or a command.")
    program, arguments = rest[0], rest[1:]
    script = _downloaded(program) if program.startswith(("http://", "https://")) else Path(program)
    if script.suffix == ".py" or script.is_file():
        if not script.is_file():
            sys.exit(f"There is no script {program}.")
        requirements += _dependencies(script)
    _check_installed(requirements, program)
    if script.is_file():
        _become(sys.executable, [str(script), *arguments])
    if program in ("python", "python3"):
        _become(sys.executable, arguments)
    path = shutil.which(program)
    if path is None:
        sys.exit(f"There is no command {program!r} in the embedded Hub's own environment.")
    _become(path, arguments)


def _become(program: str, arguments: list[str]) -> NoReturn:
    os.execv(program, [program, *arguments])  # noqa: S606  (without a shell on purpose)


def _options(words: list[str]) -> tuple[list[str], list[str]]:
    """Return the requirements of --with, and the words from the script on. --python is ignored."""
    requirements: list[str] = []
    while words and words[0].startswith("-"):
        name, equals, value = words.pop(0).partition("=")
        if name in _VALUED and not equals:
            value = words.pop(0) if words else ""
        if name in ("--with", "-w"):
            requirements += [requirement.strip() for requirement in value.split(",") if requirement.strip()]
    return requirements, words


def _downloaded(url: str) -> Path:
    folder = Path(tempfile.mkdtemp())
    try:
        with urllib.request.urlopen(url, timeout=60) as answer:  # noqa: S310  (http or https)
            content = answer.read()
    except OSError as error:
        sys.exit(f"The script {url} cannot be fetched: {error}.")
    script = folder / (Path(url.partition("?")[0]).name or "script.py")
    script.write_bytes(content)
    return script


def _dependencies(script: Path) -> list[str]:
    """Return the dependencies in the script's own metadata (https://peps.python.org/pep-0723)."""
    block = _BLOCK.search(script.read_text(encoding="utf-8", errors="replace"))
    if block is None:
        return []
    text = "".join(line[2:] if line.startswith("# ") else line[1:] for line in block["content"].splitlines(True))
    try:
        return [str(requirement) for requirement in tomllib.loads(text).get("dependencies", [])]
    except tomllib.TOMLDecodeError as error:
        sys.exit(f"The metadata of {script.name} are not TOML: {error}.")


def _check_installed(requirements: Iterable[str], program: str) -> None:
    from packaging.requirements import InvalidRequirement, Requirement

    missing = []
    for text in requirements:
        try:
            requirement = Requirement(text)
        except InvalidRequirement:
            sys.exit(f"{text!r}, which {program} needs, is not a requirement.")
        if requirement.marker and not requirement.marker.evaluate():
            continue
        try:
            installed = importlib.metadata.version(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            missing.append(text)
        else:
            if not requirement.url and not requirement.specifier.contains(installed, prereleases=True):
                missing.append(f"{text} (there is {installed})")
    if missing:
        lack = f"{', '.join(missing)}, missing in the embedded Hub's own environment"
        sys.exit(f"{program} needs {lack}: install it there, or install uv.")


if __name__ == "__main__":
    main()
