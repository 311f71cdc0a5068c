"""Supervise one Job: a separate program that outlives the server, so that the Job does too.

`python supervisor.py FOLDER` reads its order as JSON from standard input (it holds secrets, which must not be written
to disk). It runs the command in a process group of its own, writes the output to `FOLDER/log`, ends the command on
timeout or when `FOLDER/cancel` appears, and records the ending in `FOLDER/result.json`.
"""

import ctypes
import json
import os
import selectors
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

Ending = tuple[str, str | None]
"""The final stage and the reason."""
LINE, LOG = 1 << 16, 256 << 20
"""Bytes of the longest line, and of the longest log."""
GRACE = 5.0
"""Seconds from SIGTERM to SIGKILL."""
TICK = 0.1


@dataclass
class Log:
    """The Job's output, one JSON object a line, as clients read it."""

    out: IO[str]
    written: int = 0

    def line(self, text: str) -> None:
        """Add a line."""
        if self.written > LOG:
            return
        text = "(the log ends here: it is too long)\n" if self.written + len(text) > LOG else text
        stamp = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        self.written += self.out.write(json.dumps({"data": text, "timestamp": stamp}) + "\n")
        self.out.flush()


@dataclass
class Supervisor:
    """Run `command` up to `attempts` times, for `seconds` altogether, or as long as its parent `tied_to` is alive."""

    folder: Path
    command: list[str]
    environment: dict[str, str]
    seconds: float | None
    attempts: int
    notes: list[str]
    tied_to: int | None
    log: Log = field(init=False)
    deadline: float = field(init=False)
    """In time.monotonic(); infinity without a limit."""
    kill_at: float = field(init=False)

    def run(self) -> Ending:
        """Run the command to its end."""
        self.deadline = time.monotonic() + (float("inf") if self.seconds is None else self.seconds)
        with (self.folder / "log").open("a", encoding="utf-8") as out:
            self.log = Log(out)
            for note in self.notes:
                self.log.line(f"{note}\n")
            for attempt in range(1, self.attempts + 1):
                if attempt > 1:
                    self.log.line(f"Attempt {attempt} of {self.attempts}.\n")
                code, stage = self._attempt()
                if stage:
                    return stage
                if code == 0:
                    return "COMPLETED", None
        return "ERROR", f"Job failed with exit code: {code}"

    def _attempt(self) -> tuple[int, Ending | None]:
        """Return the exit code of one attempt, and the final stage if no other should follow."""
        try:
            child = subprocess.Popen(
                self.command, env=self.environment, cwd=self.folder / "work", stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True, preexec_fn=_die_with_parent,
            )  # fmt: skip
        except (OSError, ValueError) as error:
            self.log.line(f"{self.command[0]}: {getattr(error, 'strerror', None) or error}\n")
            return 127, None
        try:
            stage = self._follow(child)
        finally:
            _signal(child, signal.SIGKILL)  # the rest of its process group
        if stage is None and child.returncode < 0:
            self.log.line(f"The job was ended by {signal.Signals(-child.returncode).name}.\n")
        return child.returncode if child.returncode >= 0 else 128 - child.returncode, stage

    def _follow(self, child: "subprocess.Popen[bytes]") -> Ending | None:
        """Log the child's output until it has ended; return the final stage if it was made to end."""
        assert child.stdout
        stage, rest, ended = None, b"", False
        with selectors.DefaultSelector() as ready, child.stdout as printed:
            ready.register(printed, selectors.EVENT_READ)
            while True:
                if ready.select(TICK):
                    piece = os.read(printed.fileno(), 1 << 16)
                    rest = self._lines(rest + piece)
                    if not piece:
                        break
                elif ended:
                    break  # a process outside the group holds the pipe open
                if not ended and child.poll() is not None:
                    ended = True
                    _signal(child, signal.SIGKILL)  # the rest of its process group
                stage = self._stop_in_time(child, stage)
        while child.poll() is None:  # it has closed its output and still runs
            time.sleep(TICK)
            stage = self._stop_in_time(child, stage)
        if rest:
            self.log.line(rest.decode(errors="replace"))
        return stage

    def _stop_in_time(self, child: "subprocess.Popen[bytes]", ending: Ending | None) -> Ending | None:
        if ending is None and (ending := self._verdict()):
            self.kill_at = time.monotonic() + GRACE
            _signal(child, signal.SIGTERM)
        elif ending and time.monotonic() > self.kill_at:
            _signal(child, signal.SIGKILL)
        return ending

    def _lines(self, data: bytes) -> bytes:
        """Log whole lines (and pieces of endless ones); return the rest."""
        *whole, rest = data.split(b"\n")
        for line in whole:
            self.log.line(line.decode(errors="replace") + "\n")
        while len(rest) > LINE:
            self.log.line(rest[:LINE].decode(errors="replace"))
            rest = rest[LINE:]
        return rest

    def _verdict(self) -> Ending | None:
        orphaned = self.tied_to is not None and os.getppid() != self.tied_to
        if orphaned or (self.folder / "cancel").exists():
            return "CANCELED", None
        if time.monotonic() > self.deadline:
            return "ERROR", f"Job timeout: it ran longer than {self.seconds:g} s"
        return None


def _signal(child: "subprocess.Popen[bytes]", number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, number)


def _die_with_parent() -> None:
    """End the Job with this program, or it would run unsupervised. Linux only."""
    if sys.platform == "linux":
        set_parent_death_signal = 1
        ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGKILL)


def main() -> None:
    """Supervise the Job of the folder in the command line."""
    folder = Path(sys.argv[1])
    order = json.load(sys.stdin)
    stage, message = Supervisor(folder, **order).run()
    part = folder / "result.part"
    part.write_text(json.dumps({"stage": stage, "message": message}))
    part.replace(folder / "result.json")


if __name__ == "__main__":
    main()
