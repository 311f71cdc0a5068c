"""math-verify in a few killable processes: no answer can hang or crash the caller."""

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from permix.errors import PermixError

SECONDS = 4.5  # until a worker is killed; its own alarm comes earlier
START_SECONDS = 120.0
_PER_WORKER = 30  # waiting answers per worker: starting a worker costs as much as grading hundreds
_KNOWN = 100_000  # answers remembered: the completions of one problem often agree
_ENVIRONMENT = ("PATH", "HOME", "LANG", "LC_ALL", "PYTHONPATH", "PYTHONHOME", "LD_LIBRARY_PATH", "TMPDIR")
_WORKER = Path(__file__).with_name("math_worker.py")

Reply = Literal["correct", "wrong", "too_costly", "verifier_crash"]
_REPLIES: dict[str, Reply] = {"correct": "correct", "wrong": "wrong", "dead": "verifier_crash"}
_REPLIES |= {"too_costly": "too_costly", "late": "too_costly", "broke": "too_costly"}
_BREAKS = {-signal.SIGABRT, -signal.SIGSEGV, -signal.SIGBUS, -signal.SIGXCPU}
"""Ends of C code that is the answer's own fault: GMP aborts on a number that is too large."""


class Comparison(NamedTuple):
    """A question for math-verify: are the two equal?"""

    gold: str
    answer: str


class Pool:
    """The processes, started on demand; safe to use from several threads and after a fork."""

    def __init__(self, workers: int | None = None) -> None:
        self._most = workers or min(4, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 2)
        self._workers: list[_Worker] = []
        self._known: dict[Comparison, Reply] = {}
        self._lock = threading.Lock()
        self._pid = os.getpid()

    def close(self) -> None:
        """End the processes; the next question starts new ones."""
        if self._pid == os.getpid():
            for worker in self._workers:
                worker.kill()
        self._workers.clear()

    def ask(self, comparisons: Sequence[Comparison]) -> dict[Comparison, Reply]:
        """Return math-verify's reply to each comparison, graded once. PermixError where math-verify does not start."""
        with self._lock:
            if self._pid != os.getpid():  # after a fork the workers are the parent's
                self._workers, self._pid = [], os.getpid()
            if len(self._known) > _KNOWN:
                self._known.clear()
            new = [comparison for comparison in dict.fromkeys(comparisons) if comparison not in self._known]
            replies = self._run(new) if new else {}
            self._known |= {key: reply for key, reply in replies.items() if reply != "verifier_crash"}
            return {key: replies.get(key) or self._known[key] for key in comparisons}

    def _run(self, comparisons: Sequence[Comparison]) -> dict[Comparison, Reply]:
        waiting, replies, retried = deque(comparisons), dict[Comparison, Reply](), set[Comparison]()
        try:
            while len(replies) < len(comparisons):
                needed = min(self._most, 1 + len(waiting) // _PER_WORKER)
                self._workers += [_Worker() for _ in range(needed - len(self._workers))]
                for worker in self._workers:
                    if worker.idle and waiting:
                        worker.send(waiting.popleft())
                for worker in _finished(self._workers):
                    comparison, word = worker.comparison, worker.receive()
                    if not worker.idle:
                        self._workers.remove(worker)
                    if comparison is None:
                        continue
                    if word in ("dead", "broke") and comparison not in retried:
                        retried.add(comparison)  # in a fresh worker: another answer may have broken this one
                        waiting.append(comparison)
                    else:
                        replies[comparison] = _REPLIES[word]
        except BaseException:
            self.close()  # a busy worker would answer the next comparison
            raise
        return replies


class _Worker:
    """One math-verify process: starting until it says "ready", idle, or busy with `comparison` until `deadline`."""

    def __init__(self) -> None:
        environment = {key: os.environ[key] for key in _ENVIRONMENT if key in os.environ}  # no tokens
        # Not multiprocessing: its spawn runs the user's script again where that has no __main__ guard.
        self._process = subprocess.Popen(
            [sys.executable, "-P", str(_WORKER)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment | {"OMP_NUM_THREADS": "1"},
            bufsize=0,
        )
        assert self._process.stdin and self._process.stdout
        self._in, self._out = self._process.stdin, self._process.stdout
        self.comparison: Comparison | None = None
        self.idle = False
        self._started = False
        self.deadline = time.monotonic() + START_SECONDS

    def fileno(self) -> int:
        return self._out.fileno()

    def send(self, comparison: Comparison) -> None:
        self.comparison, self.idle, self.deadline = comparison, False, time.monotonic() + SECONDS
        with contextlib.suppress(BrokenPipeError):  # it died idle, which `receive` notices
            self._in.write(json.dumps(comparison).encode() + b"\n")

    def receive(self) -> str:
        """Return the worker's word ("ready" after its start), or how it ended: "late", "broke" or "dead"."""
        late = not _readable([self], 0)
        reply = "" if late else self._out.read(64).decode().strip()
        if reply:
            self.comparison, self.idle, self._started = None, True, True
            return reply
        self.kill()
        if not self._started:
            raise PermixError(
                "math-verify does not start in a process of its own: try `python -c 'import math_verify'` "
                f"with {sys.executable} and install what is missing."
            )
        return "late" if late else "broke" if self._process.returncode in _BREAKS else "dead"

    def kill(self) -> None:
        self._in.close()
        self._process.kill()
        self._process.wait()
        self._out.close()


def _finished(workers: list[_Worker]) -> list[_Worker]:
    """Wait until busy workers have answered, died or run out of time; return those."""
    busy = [worker for worker in workers if not worker.idle]
    left = min(worker.deadline for worker in busy) - time.monotonic()
    answered = _readable(busy, max(0.0, left))
    return [w for w in busy if w.fileno() in answered or w.deadline <= time.monotonic()]


def _readable(workers: list[_Worker], seconds: float) -> set[int]:
    poll = select.poll()  # select() fails once a process has 1024 files open
    for worker in workers:
        poll.register(worker.fileno(), select.POLLIN)
    return {number for number, _ in poll.poll(1 + seconds * 1000 if seconds else 0)}
