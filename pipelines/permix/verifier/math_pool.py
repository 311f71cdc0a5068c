"""math-verify in a few processes that can be killed: nothing that is asked of it can hang or crash the caller."""

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
from typing import Literal

from permix.errors import PermixError

SECONDS = 4.5  # until a worker is killed; its own alarm rings earlier
START_SECONDS = 120.0
_PER_WORKER = 30  # one more worker for so many waiting answers: starting one costs as much as grading hundreds
_KNOWN = 100_000  # answers remembered: the completions of one problem often agree
_ENVIRONMENT = ("PATH", "HOME", "LANG", "LC_ALL", "PYTHONPATH", "PYTHONHOME", "LD_LIBRARY_PATH", "TMPDIR")
_WORKER = Path(__file__).with_name("math_worker.py")

Job = tuple[str, str, bool]  # gold, answer, and whether the answer's text is nothing but the answer
Reply = Literal["correct", "wrong", "too_costly", "verifier_crash"]
_REPLIES: dict[str, Reply] = {
    "correct": "correct",
    "wrong": "wrong",
    "too_costly": "too_costly",
    "late": "too_costly",
    "broke": "too_costly",
    "dead": "verifier_crash",
}
_BREAKS = {-signal.SIGABRT, -signal.SIGSEGV, -signal.SIGBUS, -signal.SIGXCPU}
"""How C code ends that was asked too much (GMP aborts where a number is too large): the answer's own fault."""


class Pool:
    """The processes, started when first needed; safe to use from several threads and after a fork."""

    def __init__(self, workers: int | None = None) -> None:
        self._most = workers or min(4, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 2)
        self._workers: list[_Worker] = []
        self._known: dict[Job, Reply] = {}
        self._lock = threading.Lock()
        self._pid = os.getpid()

    def close(self) -> None:
        """End the processes; asking again starts new ones."""
        if self._pid == os.getpid():
            for worker in self._workers:
                worker.kill()
        self._workers.clear()

    def ask(self, jobs: Sequence[Job]) -> dict[Job, Reply]:
        """What math-verify says of each job; equal jobs are asked once. PermixError when it does not start at all."""
        with self._lock:
            if self._pid != os.getpid():  # after a fork the workers are the parent's
                self._workers, self._pid = [], os.getpid()
            if len(self._known) > _KNOWN:
                self._known.clear()
            new = [job for job in dict.fromkeys(jobs) if job not in self._known]
            said = self._run(new) if new else {}
            self._known |= {job: status for job, status in said.items() if status != "verifier_crash"}
            return {job: said.get(job) or self._known[job] for job in jobs}

    def _run(self, jobs: Sequence[Job]) -> dict[Job, Reply]:
        waiting, said, again = deque(jobs), dict[Job, Reply](), set[Job]()
        try:
            while len(said) < len(jobs):
                wanted = min(self._most, 1 + len(waiting) // _PER_WORKER)
                self._workers += [_Worker() for _ in range(wanted - len(self._workers))]
                for worker in self._workers:
                    if worker.idle and waiting:
                        worker.send(waiting.popleft())
                for worker in _that_are_done(self._workers):
                    job, reply = worker.job, worker.receive()
                    if not worker.idle:
                        self._workers.remove(worker)
                    if job is None:
                        continue
                    if reply in ("dead", "broke") and job not in again:
                        again.add(job)  # once more, in a fresh worker: the death may have been another's fault
                        waiting.append(job)
                    else:
                        said[job] = _REPLIES[reply]
        except BaseException:
            self.close()  # a worker left in the middle of a job would answer the next one
            raise
        return said


class _Worker:
    """One math-verify process: busy from its start until it says "ready", idle, or busy with `job` until `deadline`."""

    def __init__(self) -> None:
        kept = {key: os.environ[key] for key in _ENVIRONMENT if key in os.environ}  # no tokens
        # Not multiprocessing: its spawn runs the user's script again where that has no __main__ guard.
        self._process = subprocess.Popen(
            [sys.executable, "-P", str(_WORKER)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=kept | {"OMP_NUM_THREADS": "1"},
            bufsize=0,
        )
        assert self._process.stdin and self._process.stdout
        self._in, self._out = self._process.stdin, self._process.stdout
        self.job: Job | None = None
        self.idle = False
        self._started = False
        self.deadline = time.monotonic() + START_SECONDS

    def fileno(self) -> int:
        return self._out.fileno()

    def send(self, job: Job) -> None:
        self.job, self.idle, self.deadline = job, False, time.monotonic() + SECONDS
        with contextlib.suppress(BrokenPipeError):  # it died idle; reading says so
            self._in.write(json.dumps(job).encode() + b"\n")

    def receive(self) -> str:
        """The worker's word ("ready" when it has just started), or how it ended: "late", "broke" or "dead"."""
        late = not _readable([self], 0)
        reply = "" if late else self._out.read(64).decode().strip()
        if reply:
            self.job, self.idle, self._started = None, True, True
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


def _that_are_done(workers: list[_Worker]) -> list[_Worker]:
    """Wait until a busy worker has answered, died or run out of time; return those."""
    busy = [worker for worker in workers if not worker.idle]
    left = min(worker.deadline for worker in busy) - time.monotonic()
    answered = _readable(busy, max(0.0, left))
    return [w for w in busy if w.fileno() in answered or w.deadline <= time.monotonic()]


def _readable(workers: list[_Worker], seconds: float) -> set[int]:
    poll = select.poll()  # select() fails once a process has 1024 files open
    for worker in workers:
        poll.register(worker.fileno(), select.POLLIN)
    return {number for number, _ in poll.poll(1 + seconds * 1000 if seconds else 0)}
