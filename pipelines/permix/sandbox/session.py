"""The outside of a sandboxed program: send an input, get the output."""

import contextlib
import functools
import marshal
import os
import select
import shutil
import signal
import subprocess
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, Self

from permix.errors import PermixError
from permix.sandbox import backend, inside
from permix.sandbox.backend import BackEnd

START_SECONDS = 60.0  # a loaded machine may be slow to start a Python
GRACE_SECONDS = 20.0  # after the wall limit, until the sandbox itself counts as hung


class SandboxError(PermixError):
    """The sandbox failed: no score."""


@dataclass(frozen=True)
class Limits:
    """Limits of one run: seconds of processor time and in all, bytes of memory and output, threads, files, their bytes.

    A program never gets a second process. `seconds` is LiveCodeBench's 6 s, `memory` has room for AtCoder's 1 GiB.
    """

    seconds: float = 6.0
    wall: float = 15.0
    memory: int = 2 << 30
    output: int = 16 << 20
    threads: int = 32
    files: int = 1000
    disk: int = 64 << 20


@dataclass(frozen=True)
class Result:
    """The end of one run, its standard output (for a function: its value as JSON), and the back end."""

    status: Literal["ok", "runtime_error", "time_limit", "memory_limit"]
    output: bytes
    detail: str
    seconds: float
    back_end: BackEnd


class Session:
    """One program, ready to run on any number of inputs, each in a fresh process; a context manager.

    It belongs to its thread. A failure after the program was sent is the program's own, which else could avoid a score.
    """

    def __init__(self, back_end: BackEnd, limits: Limits, program: str, entry: str = "", prelude: str = "") -> None:
        self._back_end, self._limits, self._prelude = back_end, limits, prelude
        self._program = marshal.dumps((program.encode("utf-8", "replace").decode(), entry))
        self._process: subprocess.Popen[bytes] | None = None
        self._folder = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def run(self, stdin: bytes) -> Result:
        """Run the program on one input. SandboxError where the sandbox does not start."""
        for _ in range(2):  # once more in a new sandbox: an earlier run may have broken this one
            if self._process is None:
                self._start()
            if (reply := self._ask(stdin)) is not None:
                return reply
            self.close()
        return Result("runtime_error", b"", "it broke its sandbox", 0.0, self._back_end)

    def close(self) -> None:
        """End the sandbox and everything in it."""
        if self._process:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
                assert pipe
                pipe.close()
            self._process.wait()
            self._process = None
        if self._folder:
            with contextlib.suppress(OSError):
                inside.empty(self._folder)
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = ""

    def _start(self) -> None:
        reason = ""
        for _ in range(2):
            self._spawn()
            if self._frame(START_SECONDS) == inside.READY and self._send(self._program):
                return
            reason = self._last_words()
            self.close()
        raise SandboxError(f"The sandbox ({self._back_end}) does not start: {reason}.")

    def _spawn(self) -> None:
        private = self._back_end != "bubblewrap"
        self._folder = tempfile.mkdtemp(prefix="permix-sandbox-") if private else ""
        settings = backend.settings(self._back_end, self._folder or "/tmp")  # noqa: S108
        settings |= asdict(self._limits) | {"prelude": self._prelude}
        self._process = subprocess.Popen(
            backend.command(self._back_end),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=backend.ENVIRONMENT | {"HOME": settings["folder"], "TMPDIR": settings["folder"]},
            cwd="/",
            bufsize=0,
            start_new_session=True,
        )
        self._send(_code())
        self._send(marshal.dumps(settings))

    def _ask(self, stdin: bytes) -> Result | None:
        """Return the result of one run, or None without a valid reply."""
        reply = self._frame(self._limits.wall + GRACE_SECONDS) if self._send(stdin) else None
        if reply is None or len(reply) < inside.REPLY.size:
            return None
        number, seconds, size = inside.REPLY.unpack_from(reply)
        rest = reply[inside.REPLY.size :]
        detail = rest[:size].decode("utf-8", "replace")
        status = inside.STATUSES[number] if number < len(inside.STATUSES) else ""
        if status == "sandbox_error":
            raise SandboxError(f"The sandbox ({self._back_end}) could not run a program: {detail}.")
        return Result(status, rest[size:], detail, seconds, self._back_end) if status else None  # type: ignore[arg-type]

    def _send(self, content: bytes) -> bool:
        assert self._process and self._process.stdin
        try:
            inside.write_frame(self._process.stdin.fileno(), content)
        except OSError:
            return False
        return True

    def _frame(self, seconds: float) -> bytes | None:
        """Return one frame, None where it takes longer than `seconds` or is larger than a reply can be."""
        assert self._process and self._process.stdout
        source, deadline = self._process.stdout.fileno(), time.monotonic() + seconds
        poll = select.poll()
        poll.register(source, select.POLLIN)
        frame, size = bytearray(), 4
        while len(frame) < size:
            if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
                return None
            part = os.read(source, size - len(frame))
            if not part:
                return None
            frame += part
            if size == 4 and len(frame) == 4:
                size += int.from_bytes(frame)
                if size > self._limits.output + 10_000:
                    return None
        return bytes(frame[4:])

    def _last_words(self) -> str:
        assert self._process and self._process.stderr
        self._process.kill()
        lines = self._process.stderr.read().decode("utf-8", "replace").strip().splitlines()
        return lines[-1] if lines else "it ended without a message"


@functools.cache
def _code() -> bytes:
    """Return `permix.sandbox.inside`, compiled: the sandbox contains no file of ours."""
    source = Path(inside.__file__)
    return marshal.dumps(compile(source.read_text(encoding="utf-8"), source.name, "exec", dont_inherit=True))
