"""`uv run` for Jobs of the embedded Hub where uv is not installed: this Python, with what is installed in it.

A program of its own: `python uv_run.py run [--with PACKAGE]… [--python VERSION] SCRIPT|URL|COMMAND [ARGUMENT]…`. The
packages that a script names (PEP 723) or that --with names must be installed here, or it says which are not.
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
    """Become the script."""
    words = sys.argv[1:]
    uv = shutil.which("uv")
    if uv:
        _become(uv, words)
    if words[:1] != ["run"]:
        sys.exit("uv is not installed, and without it the embedded Hub knows only `uv run`.")
    wanted, rest = _options(words[1:])
    if not rest:
        sys.exit("`uv run` needs a script, a URL or a command.")
    what, arguments = rest[0], rest[1:]
    script = _downloaded(what) if what.startswith(("http://", "https://")) else Path(what)
    if script.suffix == ".py" or script.is_file():
        if not script.is_file():
            sys.exit(f"There is no script {what}.")
        wanted += _dependencies(script)
    _check_installed(wanted, what)
    if script.is_file():
        _become(sys.executable, [str(script), *arguments])
    if what in ("python", "python3"):
        _become(sys.executable, arguments)
    found = shutil.which(what)
    if found is None:
        sys.exit(f"There is no command {what!r} in the embedded Hub's own environment.")
    _become(found, arguments)


def _become(program: str, arguments: list[str]) -> NoReturn:
    os.execv(program, [program, *arguments])  # noqa: S606  (there is no shell, and none is wanted)


def _options(words: list[str]) -> tuple[list[str], list[str]]:
    """What --with asks for, and the words from the script on. Which Python there is cannot be chosen."""
    wanted: list[str] = []
    while words and words[0].startswith("-"):
        name, equals, value = words.pop(0).partition("=")
        if name in _VALUED and not equals:
            value = words.pop(0) if words else ""
        if name in ("--with", "-w"):
            wanted += [one.strip() for one in value.split(",") if one.strip()]
    return wanted, words


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
    """What the script's own metadata name (https://peps.python.org/pep-0723)."""
    found = _BLOCK.search(script.read_text(encoding="utf-8", errors="replace"))
    if found is None:
        return []
    text = "".join(line[2:] if line.startswith("# ") else line[1:] for line in found["content"].splitlines(True))
    try:
        return [str(one) for one in tomllib.loads(text).get("dependencies", [])]
    except tomllib.TOMLDecodeError as error:
        sys.exit(f"The metadata of {script.name} are no TOML: {error}.")


def _check_installed(wanted: Iterable[str], what: str) -> None:
    from packaging.requirements import InvalidRequirement, Requirement

    missing = []
    for text in wanted:
        try:
            one = Requirement(text)
        except InvalidRequirement:
            sys.exit(f"{text!r}, which {what} needs, is no requirement.")
        if one.marker and not one.marker.evaluate():
            continue
        try:
            there = importlib.metadata.version(one.name)
        except importlib.metadata.PackageNotFoundError:
            missing.append(text)
        else:
            if not one.url and not one.specifier.contains(there, prereleases=True):
                missing.append(f"{text} (there is {there})")
    if missing:
        sys.exit(
            f"{what} needs {', '.join(missing)}, which the embedded Hub's own environment has not; "
            "install it there, or install uv."
        )


if __name__ == "__main__":
    main()
