"""What a workflow step says to GitHub: outputs, the job summary and annotations; every text in them may be hostile.

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
    """What started the workflow: the `inputs` of a person or the `client_payload` of a repository_dispatch."""
    path = os.environ.get("GITHUB_EVENT_PATH", "")
    try:
        found = json.loads(Path(path).read_bytes()) if path else {}
    except (OSError, ValueError):
        raise BadInput(f"GITHUB_EVENT_PATH is {path!r}: it should be a JSON file with the workflow's event.") from None
    return found if isinstance(found, dict) else {}


def output(name: str, value: str) -> None:
    """Set an output of the step. No value can end it or set another: the delimiter is random."""
    end = secrets.token_hex(16)
    _append("GITHUB_OUTPUT", f"{name}<<{end}\n{value}\n{end}\n", f"{name}={value}\n")


def summary(markdown: str) -> None:
    """Add to the page of the job."""
    _append("GITHUB_STEP_SUMMARY", f"{markdown}\n\n", f"{markdown}\n")


def annotate(level: Level, title: str, text: str) -> None:
    """A line that GitHub shows on the page of the run."""
    print(f"::{level} title={_escaped(title, ':,')}::{_escaped(text)}", flush=True)


def plain(text: object) -> str:
    """A text of unknown origin on one line of Markdown, where it formats, links and calls nothing."""
    return _MARKDOWN.sub(r"\\\1", " ".join(str(text).split())[:_LONGEST])


def fail(title: str, error: PermixError) -> None:
    """Say the one sentence of an error where a person looks: on the pages of the job and of the run."""
    summary(f"**{plain(title)}**: {plain(error)}")
    annotate("error", title, str(error))


@contextmanager
def step(title: str) -> Iterator[None]:
    """A step: an error of ours in it is shown on GitHub, and ends it with the error's exit code."""
    try:
        yield
    except PermixError as error:
        fail(title, error)
        raise


def permix(*arguments: str) -> str:
    """Run one of permix's own commands, shown in the log as one would type it; return its stdout.

    Its last sentence is raised where it fails: BadInput for its exit code 2, PermixError for every other.
    """
    print("$ permix", *arguments, file=sys.stderr, flush=True)
    command = [sys.executable, "-m", "permix", *arguments]
    said = ""
    with tempfile.TemporaryFile("w+") as out, _no_commands():
        with subprocess.Popen(command, stdout=out, stderr=subprocess.PIPE, text=True) as child:
            assert child.stderr
            for line in child.stderr:
                print(line, end="", file=sys.stderr, flush=True)
                said = line.strip() or said
        out.seek(0)
        found = out.read()
        print(found, end="", flush=True)
    if child.returncode:
        sentence = said.removeprefix("permix: ") if said.startswith("permix: ") else _ended(arguments, child.returncode)
        raise (BadInput if child.returncode == BadInput.exit_code else PermixError)(sentence)
    return found


@contextmanager
def _no_commands() -> Iterator[None]:
    """What is printed in here is a log, also where a line of it looks like a command to GitHub."""
    if not os.environ.get("GITHUB_ACTIONS"):
        yield
        return
    word = secrets.token_hex(16)
    print(f"::stop-commands::{word}", flush=True)
    try:
        yield
    finally:
        print(f"::{word}::", flush=True)


def _ended(arguments: Sequence[str], code: int) -> str:
    how = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
    return f"permix {arguments[0]} {how} and gave no reason: its log is above; run the job again to continue."


def _escaped(text: str, more: str = "") -> str:
    """As the runner reads it back; without this a newline would begin another command."""
    found = " ".join(text.split())[:_LONGEST].replace("%", "%25")
    for letter in more:
        found = found.replace(letter, f"%{ord(letter):02X}")
    return found


def _append(variable: str, text: str, otherwise: str) -> None:
    if path := os.environ.get(variable):
        with Path(path).open("a", encoding="utf-8") as file:
            file.write(text)
    else:
        print(otherwise, end="")
