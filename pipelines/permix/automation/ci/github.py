"""Messages of a workflow step to GitHub: outputs, job summary, annotations. Every text in them may be hostile.

https://docs.github.com/actions/reference/workflows-and-actions/workflow-commands. Outside GitHub they go to stdout.
"""

import json
import os
import re
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from permix.errors import BadInput, PermixError

Level = Literal["error", "warning", "notice"]
_MARKDOWN = re.compile(r"([\\`*_{}\[\]<>|!~#@&$])")
_LONGEST = 2000


def event() -> dict[str, Any]:
    """Return the event that started the workflow: `inputs`, the `client_payload` of a repository_dispatch, …"""
    path = os.environ.get("GITHUB_EVENT_PATH", "")
    try:
        event = json.loads(Path(path).read_bytes()) if path else {}
    except (OSError, ValueError):
        raise BadInput(f"GITHUB_EVENT_PATH is {path!r}: it should be a JSON file with the workflow's event.") from None
    return event if isinstance(event, dict) else {}


def output(name: str, value: str) -> None:
    """Set an output of the workflow step. The random delimiter keeps `value` from setting another."""
    end = secrets.token_hex(16)
    _append("GITHUB_OUTPUT", f"{name}<<{end}\n{value}\n{end}\n", f"{name}={value}\n")


def summary(markdown: str) -> None:
    """Add to the page of the GitHub job."""
    _append("GITHUB_STEP_SUMMARY", f"{markdown}\n\n", f"{markdown}\n")


def annotate(level: Level, title: str, text: str) -> None:
    """Print a message that GitHub shows on the page of the workflow run."""
    print(f"::{level} title={_escaped(title, ':,')}::{_escaped(text)}", flush=True)


def plain(text: object) -> str:
    """Return a text on one line of Markdown in which it formats nothing, links nothing and mentions nobody."""
    return _MARKDOWN.sub(r"\\\1", " ".join(str(text).split())[:_LONGEST])


@contextmanager
def shown(title: str) -> Iterator[None]:
    """Show an error of permix on the pages of the job and of the run, and raise it again for the exit code."""
    try:
        yield
    except PermixError as error:
        summary(f"**{plain(title)}**: {plain(error)}")
        annotate("error", title, str(error))
        raise


def permix(*arguments: str) -> str:
    """Run a permix command, logging its stderr; return stdout. Raise its last sentence (BadInput for exit code 2)."""
    print("$ permix", *arguments, file=sys.stderr, flush=True)
    command = [sys.executable, "-m", "permix", *arguments]
    last_line = ""
    with tempfile.TemporaryFile("w+") as out, _no_commands():
        with subprocess.Popen(command, stdout=out, stderr=subprocess.PIPE, text=True) as child:
            assert child.stderr
            for line in child.stderr:
                print(line, end="", file=sys.stderr, flush=True)
                last_line = line.strip() or last_line
        out.seek(0)
        stdout = out.read()
        print(stdout, end="", flush=True)
    if child.returncode:
        is_sentence = last_line.startswith("permix: ")
        sentence = last_line.removeprefix("permix: ") if is_sentence else _failure(arguments, child.returncode)
        raise (BadInput if child.returncode == BadInput.exit_code else PermixError)(sentence)
    return stdout


@contextmanager
def _no_commands() -> Iterator[None]:
    """Keep GitHub from reading commands in the lines that are printed meanwhile."""
    if not os.environ.get("GITHUB_ACTIONS"):
        yield
        return
    word = secrets.token_hex(16)
    print(f"::stop-commands::{word}", flush=True)
    try:
        yield
    finally:
        print(f"::{word}::", flush=True)


def _failure(arguments: Sequence[str], code: int) -> str:
    end = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
    return f"permix {arguments[0]} {end} and gave no reason: its log is above; run the job again to continue."


def _escaped(text: str, letters: str = "") -> str:
    """Escape a text as the runner reads it back; an unescaped newline would begin another command."""
    escaped = " ".join(text.split())[:_LONGEST].replace("%", "%25")
    for letter in letters:
        escaped = escaped.replace(letter, f"%{ord(letter):02X}")
    return escaped


def _append(variable: str, text: str, otherwise: str) -> None:
    if path := os.environ.get(variable):
        with Path(path).open("a", encoding="utf-8") as file:
            file.write(text)
    else:
        print(otherwise, end="")
