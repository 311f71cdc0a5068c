"""Is the answer right? Training reward and evaluation score are this one function.

What counts as the answer is written in `permix.answer`. Integers are compared at once; everything else goes to
math-verify in a few killable processes, because a hostile answer (10^{10^{10}}) can hang a whole process for ever.
"""

import atexit
import json
import os
import select
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

from permix import answer as answers
from permix.errors import BadInput, PermixError

Kind = Literal["math", "choice", "exact"]
Status = Literal["correct", "wrong", "no_answer", "too_costly", "engine_error", "verifier_crash"]
SCORES: dict[str, float | None] = {
    "correct": 1.0,
    "wrong": 0.0,
    "no_answer": 0.0,
    "too_costly": 0.0,
    "engine_error": None,
    "verifier_crash": None,
}

SECONDS = 4.5  # until a worker is killed; its own alarm rings earlier
START_SECONDS = 120.0
LONGEST = 5000  # characters of an answer; a longer one is not read
_PER_WORKER = 30  # one more worker for so many waiting answers: starting one costs as much as grading hundreds
_KNOWN = 100_000
_ENVIRONMENT = ("PATH", "HOME", "LANG", "LC_ALL", "PYTHONPATH", "PYTHONHOME", "LD_LIBRARY_PATH", "TMPDIR")
_WORKER = Path(__file__).with_name("math_worker.py")


@dataclass(frozen=True)
class Problem:
    """One benchmark row; `gold` is its reference answer."""

    id: str
    question: str
    gold: str
    kind: Kind = "math"


@dataclass(frozen=True)
class Verdict:
    """What the verifier says of one completion; `extracted` is the answer it found in it."""

    status: Status
    extracted: str | None

    @property
    def score(self) -> float | None:
        """1, 0, or None where the failure is ours."""
        return SCORES[self.status]


Job = tuple[str, str, bool]  # gold, answer, exact: what a worker is asked


class Verifier:
    """Grades completions; a context manager, because it may keep worker processes.

    Safe to use from several threads. No answer takes longer than 5 seconds, and none stops another.
    """

    def __init__(self, workers: int | None = None) -> None:
        self._most = workers or min(4, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 2)
        self._workers: list[_Worker] = []
        self._known: dict[Job, Status] = {}
        self._lock = threading.Lock()
        self._pid = os.getpid()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the worker processes; grading again starts new ones."""
        if self._pid == os.getpid():
            for worker in self._workers:
                worker.kill()
        self._workers.clear()

    def grade(self, completion: str, problem: Problem | str) -> Verdict:
        """Grade one completion; a bare string is the gold answer of a math problem."""
        return self.grade_many([(completion, problem)])[0]

    def grade_many(self, pairs: Iterable[tuple[str, Problem | str]]) -> list[Verdict]:
        """Grade completions, each against its problem, in order.

        PermixError when math-verify does not start at all.
        """
        found = [_at_once(completion, problem) for completion, problem in pairs]
        asked = self._ask([job for job in found if isinstance(job, tuple)])
        return [Verdict(asked[v], v[1]) if isinstance(v, tuple) else v for v in found]

    def check_golds(self, problems: Iterable[Problem]) -> None:
        """Raise BadInput for the first problem whose gold the verifier would not accept as an answer to itself."""
        jobs: dict[Job, Problem] = {}
        for problem in problems:
            gold = problem.gold.strip()
            readable = {"math": answers.balanced, "choice": answers.letter, "exact": bool}[problem.kind]
            if not gold or not readable(gold):
                raise BadInput(_bad_gold(problem))
            if problem.kind == "math" and answers.integer(gold) is None:
                jobs.setdefault((gold, gold, True), problem)
        for job, status in self._ask(list(jobs)).items():
            if status != "correct":
                raise BadInput(_bad_gold(jobs[job]))

    def _ask(self, jobs: Sequence[Job]) -> dict[Job, Status]:
        """What math-verify says of each job; equal jobs are asked once."""
        with self._lock:
            if self._pid != os.getpid():  # after a fork the workers are the parent's
                self._workers, self._pid = [], os.getpid()
            if len(self._known) > _KNOWN:
                self._known.clear()
            new = [job for job in dict.fromkeys(jobs) if job not in self._known]
            said = self._run(new) if new else {}
            self._known |= {job: status for job, status in said.items() if status != "verifier_crash"}
            return {job: said.get(job) or self._known[job] for job in jobs}

    def _run(self, jobs: Sequence[Job]) -> dict[Job, Status]:
        waiting, said, again = deque(jobs), dict[Job, Status](), set[Job]()
        try:
            while len(said) < len(jobs):
                wanted = min(self._most, 1 + len(waiting) // _PER_WORKER)
                self._workers += [_Worker() for _ in range(wanted - len(self._workers))]
                for worker in self._workers:
                    if worker.idle and waiting:
                        worker.send(waiting.popleft())
                for worker in _that_are_done(self._workers):
                    job, reply = worker.job, worker.receive()
                    if reply == "dead" or reply == "late":
                        self._workers.remove(worker)
                    if job is None:
                        continue
                    if reply == "dead" and job not in again:
                        again.add(job)  # once more, in a fresh worker: the death may have been another's fault
                        waiting.append(job)
                    else:
                        said[job] = _STATUS[reply]
        except BaseException:
            self.close()  # a worker left in the middle of a job would answer the next one
            raise
        return said


_STATUS: dict[str, Status] = {
    "correct": "correct",
    "wrong": "wrong",
    "too_costly": "too_costly",
    "late": "too_costly",
    "dead": "verifier_crash",
}


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
        assert self._process.stdin and self._process.stdout  # noqa: S101
        self._in, self._out = self._process.stdin, self._process.stdout
        self.job: Job | None = None
        self.idle = False
        self._started = False
        self.deadline = time.monotonic() + START_SECONDS

    def fileno(self) -> int:
        return self._out.fileno()

    def send(self, job: Job) -> None:
        self.job, self.idle, self.deadline = job, False, time.monotonic() + SECONDS
        try:
            self._in.write(json.dumps(job).encode() + b"\n")
        except BrokenPipeError:
            pass  # it died idle; reading says so

    def receive(self) -> str:
        """The worker's word; "late" or "dead" when it has been ended, "ready" when it has just started."""
        ready = select.select([self._out], [], [], 0)[0]
        reply = self._out.read(64).decode().strip() if ready else "late"
        if reply and ready:
            self.job, self.idle, self._started = None, True, True
            return reply
        self.kill()
        if not self._started:
            raise PermixError(
                "math-verify does not start in a process of its own: try `python -c 'import math_verify'` "
                f"with {sys.executable} and install what is missing."
            )
        return reply or ("late" if self._process.returncode == -24 else "dead")  # 24: SIGXCPU, out of processor time

    def kill(self) -> None:
        self._in.close()
        self._process.kill()
        self._process.wait()
        self._out.close()


def _that_are_done(workers: list[_Worker]) -> list[_Worker]:
    """Wait until a busy worker has answered, died or run out of time; return those."""
    busy = [worker for worker in workers if not worker.idle]
    left = min(worker.deadline for worker in busy) - time.monotonic()
    answered = select.select(busy, [], [], max(0.0, left))[0]
    return [w for w in busy if w in answered or w.deadline <= time.monotonic()]


def _at_once(completion: str, problem: Problem | str) -> Verdict | Job:
    """The verdict where it needs no mathematics, else what to ask a worker."""
    gold, kind = (problem, "math") if isinstance(problem, str) else (problem.gold, problem.kind)
    found = answers.find(completion)
    if found is None:
        return Verdict("no_answer", None)
    text = found.text
    if kind == "choice":
        said = answers.letter(text)
        return Verdict("correct" if said and said == answers.letter(gold) else "wrong" if said else "no_answer", said)
    if kind == "exact":
        return Verdict("correct" if answers.words(text) == answers.words(gold) else "wrong", text[:LONGEST])
    number, wanted = answers.integer(text), answers.integer(gold)
    if number is not None and wanted is not None:
        return Verdict("correct" if number == wanted else "wrong", text[:LONGEST])
    if text == gold.strip():
        return Verdict("correct", text)
    if len(text) > LONGEST:
        return Verdict("too_costly", text[:LONGEST])
    return gold.strip(), text, found.exact


def _bad_gold(problem: Problem) -> str:
    wants = {"math": "a number or formula that math-verify reads", "choice": "a letter A-J", "exact": "a text"}
    return f"The gold answer {problem.gold!r} of problem {problem.id} is not {wants[problem.kind]}: correct or remove it."


_shared: Verifier | None = None
_shared_lock = threading.Lock()


def shared() -> Verifier:
    """The verifier of this process for callers that cannot hold one; ends with the process."""
    global _shared
    with _shared_lock:
        if _shared is None:
            _shared = Verifier()
            atexit.register(_shared.close)
        return _shared


def accuracy_reward(
    completions: Sequence[Any],
    gold: Sequence[str],
    kind: Sequence[Kind] | None = None,
    log_extra: Callable[[str, list[Any]], None] | None = None,
    **_: Any,
) -> list[float | None]:
    """The score of each completion as a TRL reward; `gold` and `kind` are columns of the training set.

    A completion is a text or a list of messages, of which the last is graded. None (a row without reward) where
    grading failed on our side. Not a coroutine: TRL would run that on a thread of its own.
    """
    texts = [c if isinstance(c, str) else str(c[-1]["content"]) for c in completions]
    problems = [Problem("", "", g, k) for g, k in zip(gold, kind or ["math"] * len(gold), strict=True)]
    verdicts = shared().grade_many(zip(texts, problems, strict=True))
    if log_extra:
        log_extra("extracted", [verdict.extracted for verdict in verdicts])
        log_extra("status", [verdict.status for verdict in verdicts])
    return [verdict.score for verdict in verdicts]
