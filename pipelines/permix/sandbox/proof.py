"""Choose the back end of this machine, proved by programs that try to break out of it."""

import contextlib
import functools
import os
import socket
import tempfile
import tomllib
from collections.abc import Iterator
from pathlib import Path

from permix.errors import PermixError
from permix.sandbox import backend
from permix.sandbox.backend import SAFE, BackEnd
from permix.sandbox.session import Limits, SandboxError, Session

ACCEPT_UNSAFE = "PERMIX_I_ACCEPT_UNSAFE"  # set to 1 by --i-accept-unsafe
LIMITS = Limits(seconds=0.3, wall=0.6, memory=256 << 20, output=1 << 20, threads=8, files=50, disk=1 << 20)

ATTACKS: dict[str, str] = tomllib.loads(Path(__file__).with_name("attacks.toml").read_text(encoding="utf-8"))
_PROGRAM = """
import ctypes, os, socket, sys, threading, time
{names}
try:
    exec(sys.stdin.read())
except BaseException as error:
    print("blocked")
else:
    print("through")
"""


@functools.cache
def prove(back_end: BackEnd) -> dict[str, bool]:
    """Try every attack in the back end; return whether each was stopped. SandboxError where it does not start."""
    if reason := backend.lacks(back_end):
        raise SandboxError(reason)
    with _bait() as names, Session(back_end, LIMITS, _PROGRAM.format(names=names)) as session:
        plain = session.run(b"pass")
        if plain.output != b"through\n":  # a sandbox that stops everything proves nothing
            raise SandboxError(f"it does not run a harmless program: {plain.detail or plain.status}")
        return {name: _stopped(session, attack) for name, attack in ATTACKS.items()}


def _stopped(session: Session, attack: str) -> bool:
    result = session.run(attack.encode())
    return result.status != "ok" or result.output == b"blocked\n"


@contextlib.contextmanager
def _bait() -> Iterator[str]:
    """Yield the targets of the attacks, as assignments in Python."""
    with (
        tempfile.TemporaryDirectory(prefix="permix-bait-") as folder,
        socket.create_server(("127.0.0.1", 0)) as tcp,
        socket.socket(socket.AF_UNIX) as unix,
    ):
        file = Path(folder, "file")
        file.write_text("secret")
        unix.bind(f"{folder}/socket")
        unix.listen()
        names = {
            "FILE": str(file),
            "FOLDER": folder,
            "PORT": tcp.getsockname()[1],
            "UNIX": f"{folder}/socket",
            "PARENT": os.getpid(),
            "MODULES": [str(Path(__file__).parents[2])],
            "KNOWN": {*backend.ENVIRONMENT, "TMPDIR", "PWD", "LC_CTYPE"},
        }
        yield "\n".join(f"{name} = {value!r}" for name, value in names.items())


@functools.cache
def choose() -> BackEnd:
    """Return the first back end that stops every attack, or "unsafe" where the user accepts it; else PermixError."""
    reasons = []
    for name in SAFE:
        try:
            broken = [attack for attack, stopped in prove(name).items() if not stopped]
        except SandboxError as error:
            reasons.append(f"{name}: {str(error).rstrip('.')}")
        else:
            if not broken:
                return name
            reasons.append(f"{name} does not stop {', '.join(broken)}")
    if os.environ.get(ACCEPT_UNSAFE) == "1":
        return "unsafe"
    raise PermixError(
        f"No sandbox works here ({'; '.join(reasons)}): install bubblewrap, or run programs of models without "
        "protection, with --i-accept-unsafe."
    )
