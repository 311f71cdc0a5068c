"""Is the answer right? Training reward and evaluation score are this one function.

What counts as the answer is written in `permix.verifier.answer`. Integers are compared at once; everything else goes to
math-verify in a few killable processes, because a hostile answer (10^{10^{10}}) can hang a whole process for ever.
Programs run in the sandbox (`permix.verifier.code`).
"""

import atexit
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

from permix.errors import BadInput, PermixError
from permix.verifier import answer as answers
from permix.verifier import code
from permix.verifier.math_pool import Job, Pool

Kind = Literal["math", "choice", "exact", "code"]
Status = Literal[
    "correct",
    "wrong",
    "no_answer",
    "too_costly",
    "no_code",
    "runtime_error",
    "time_limit",
    "memory_limit",
    "engine_error",
    "verifier_crash",
    "sandbox_error",
]
SCORES: dict[str, float | None] = {
    "correct": 1.0,
    "wrong": 0.0,
    "no_answer": 0.0,
    "too_costly": 0.0,
    "no_code": 0.0,
    "runtime_error": 0.0,
    "time_limit": 0.0,
    "memory_limit": 0.0,
    "engine_error": None,
    "verifier_crash": None,
    "sandbox_error": None,
}

LONGEST = 5000  # characters of an answer; a longer one is not read


@dataclass(frozen=True)
class Problem:
    """One benchmark row; `gold` is its reference answer, `rationale` the reasoning to it where there is one.

    Of a problem of kind code the gold answer are its tests as JSON (`permix.verifier.code.suite`), or it has `tests`.
    `erratum` says what is wrong with a problem that its source marks as broken; `rule` is how its answer is found.
    """

    id: str
    question: str
    gold: str
    kind: Kind = "math"
    rationale: str = ""
    tests: code.Tests | None = None
    erratum: str = ""
    rule: answers.Rule = "marked"


@dataclass(frozen=True)
class Verdict:
    """What the verifier says of one completion; `extracted` is the answer it found in it."""

    status: Status
    extracted: str | None

    @property
    def score(self) -> float | None:
        """1, 0, or None where the failure is ours."""
        return SCORES[self.status]


class Verifier:
    """Grades completions; a context manager, because it may keep worker processes.

    Safe to use from several threads. No answer takes longer than 5 seconds (a program: its limits, once for each test
    up to the first that fails), and none stops another.
    """

    def __init__(self, workers: int | None = None) -> None:
        self._pool = Pool(workers)
        self._code = code.Grader(workers)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the worker processes; grading again starts new ones."""
        self._pool.close()

    def grade(self, completion: str, problem: Problem | str) -> Verdict:
        """Grade one completion; a bare string is the gold answer of a math problem."""
        return self.grade_many([(completion, problem)])[0]

    def grade_many(self, pairs: Iterable[tuple[str, Problem | str]]) -> list[Verdict]:
        """Grade completions, each against its problem, in order.

        PermixError when math-verify does not start at all, or when there is a program to run and no sandbox works here.
        """
        found = [_at_once(completion, problem) for completion, problem in pairs]
        asked = self._pool.ask([job for job in found if isinstance(job, tuple)])
        ran = self._code.ask([job for job in found if isinstance(job, code.Job)])
        return [
            Verdict(asked[v], v[1]) if isinstance(v, tuple)
            else Verdict(ran[v], v.code[:LONGEST]) if isinstance(v, code.Job)
            else v
            for v in found
        ]  # fmt: skip

    @property
    def sandbox(self) -> str:
        """The back end in which programs run here; PermixError where there is none."""
        return self._code.sandbox.back_end

    def check_golds(self, problems: Iterable[Problem]) -> None:
        """Raise BadInput for the first problem whose gold the verifier would not accept as an answer to itself."""
        jobs: dict[Job, Problem] = {}
        for problem in problems:
            if problem.kind == "code":
                code.suite(problem.id, problem.gold, problem.tests)
                continue
            gold = problem.gold.strip()
            if "####" in gold:
                raise BadInput(
                    f"The gold of problem {problem.id} is a whole solution: the answer column should hold what stands "
                    'behind its ####. For GSM8K itself set name = "gsm8k" instead of dataset.'
                )
            if problem.kind == "choice":
                readable = answers.letter(gold) is not None
            else:
                readable = bool(gold) and (problem.kind == "exact" or answers.balanced(gold))
            if not readable:
                raise BadInput(_bad_gold(problem))
            if problem.kind == "math" and answers.integer(gold) is None:
                jobs.setdefault((gold, gold, True), problem)
        for job, status in self._pool.ask(list(jobs)).items():
            if status == "verifier_crash":
                raise PermixError(f"math-verify ended on the gold answer of problem {jobs[job].id}: run it again.")
            if status != "correct":
                raise BadInput(_bad_gold(jobs[job]))


def _at_once(completion: str, problem: Problem | str) -> Verdict | Job | code.Job:
    """The verdict where it needs no mathematics and no program run, else what to ask a worker."""
    if isinstance(problem, str):
        problem = Problem("", "", problem)
    if problem.kind == "code":
        program = code.find(completion)
        return code.Job(problem.id, program, problem.gold, problem.tests) if program else Verdict("no_code", None)
    gold, kind = problem.gold, problem.kind
    found = answers.find(completion, problem.rule)
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
    wanted = {"math": "a number or formula that math-verify reads", "choice": "a letter A-J", "exact": "a text"}
    what = wanted[problem.kind]
    return f"The gold answer {problem.gold!r} of problem {problem.id} is not {what}: correct or remove it."


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
    kinds: Sequence[Kind] = kind or ["math"] * len(gold)
    problems = [Problem("", "", g, k) for g, k in zip(gold, kinds, strict=True)]
    verdicts = shared().grade_many(zip(texts, problems, strict=True))
    if log_extra:
        log_extra("extracted", [verdict.extracted for verdict in verdicts])
        log_extra("status", [verdict.status for verdict in verdicts])
    return [verdict.score for verdict in verdicts]
