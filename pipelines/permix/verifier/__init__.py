"""Grade answers: the training reward and the evaluation score are this one function.

`permix.verifier.answer` defines the answer of a completion. Integers are compared directly; everything else goes to
math-verify in a few killable processes, because a hostile answer (10^{10^{10}}) can hang a process for ever. Programs
run in the sandbox (`permix.verifier.code`).
"""

import atexit
import re
import sys
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal, Self, get_args

from permix.errors import BadInput, PermixError
from permix.verifier import answer as answers
from permix.verifier import code
from permix.verifier.math_pool import Comparison, Pool

Kind = Literal["math", "choice", "exact", "code"]
_Wrong = Literal[
    "wrong", "no_answer", "too_costly", "no_code", "runtime_error", "time_limit", "memory_limit", "refused"
]  # fmt: skip
_Failure = Literal["engine_error", "verifier_crash", "sandbox_error"]
Status = Literal["correct", _Wrong, _Failure]
SCORES: dict[str, float | None] = {
    "correct": 1.0, **dict.fromkeys(get_args(_Wrong), 0.0), **dict.fromkeys(get_args(_Failure))
}  # fmt: skip

_WORDS = re.compile(r"(?i:n/a)|(?=.*[^\W\d_]{3})[^\W\d_]+(?:[\s/.,;:'’()-]+[^\W\d_]+)*[.!?]?", re.DOTALL)
LONGEST = 5000  # characters of an answer; a longer one is not read


@dataclass(frozen=True)
class Problem:
    """One benchmark row: `gold` is its reference answer, `rationale` the reasoning to it where known.

    For kind code the gold answer is the problem's tests as JSON (`permix.verifier.code.suite`), or `tests` has them.
    `erratum` is the fault of a problem that its source marks as broken; `rule` finds the answer in a completion.
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
    """The grade of one completion; `extracted` is its answer. A prompt that the server refused is "refused"."""

    status: Status
    extracted: str | None

    @property
    def score(self) -> float | None:
        """1, 0, or None for a failure of ours."""
        return SCORES[self.status]


class Verifier:
    """Grades completions; a context manager with worker processes, safe to use from several threads.

    An answer takes at most 5 seconds and delays no other. A program takes at most its limits per test, until one fails.
    """

    def __init__(self, workers: int | None = None) -> None:
        self._pool = Pool(workers)
        self._code = code.Grader(workers)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the worker processes; the next grading starts new ones."""
        self._pool.close()

    def grade(self, completion: str, problem: Problem | str) -> Verdict:
        """Grade one completion; a bare string is the gold answer of a math problem."""
        return self.grade_many([(completion, problem)])[0]

    def grade_many(self, pairs: Iterable[tuple[str, Problem | str]]) -> list[Verdict]:
        """Grade completions in order; PermixError if math-verify does not start or a program finds no sandbox."""
        verdicts = [_direct(completion, problem) for completion, problem in pairs]
        compared = self._pool.ask([v for v in verdicts if isinstance(v, Comparison)])
        ran = self._code.ask([v for v in verdicts if isinstance(v, code.Submission)])
        return [
            Verdict(compared[v], v.answer) if isinstance(v, Comparison)
            else Verdict(ran[v], v.code[:LONGEST]) if isinstance(v, code.Submission)
            else v
            for v in verdicts
        ]  # fmt: skip

    @property
    def sandbox(self) -> str:
        """The sandbox back end of this machine; PermixError where none works."""
        return self._code.sandbox.back_end

    def check_golds(self, problems: Iterable[Problem]) -> None:
        """Raise BadInput for a gold that is not its own right answer; print a note on math golds that are words."""
        comparisons: dict[Comparison, Problem] = {}
        wordy: list[str] = []
        for problem in problems:
            if problem.kind == "code":
                code.suite(problem.id, problem.gold, problem.tests)
                continue
            gold = problem.gold.strip()
            if "####" in gold:
                raise BadInput(
                    f"The gold of problem {problem.id} is a whole solution: the answer column should hold the text "
                    'after its ####. For GSM8K itself set name = "gsm8k" instead of dataset.'
                )
            if problem.kind == "choice":
                readable = answers.letter(gold) is not None
            else:
                readable = bool(gold) and (problem.kind == "exact" or answers.balanced(gold))
            if not readable:
                raise BadInput(_bad_gold(problem))
            if problem.kind == "math" and _WORDS.fullmatch(gold):
                wordy.append(f"{gold[:40]!r} ({problem.id})")
            if problem.kind == "math" and answers.integer(gold) is None:
                comparisons.setdefault(Comparison(*(answers.decimal(gold) or gold,) * 2), problem)
        if wordy:
            print(
                f"Note: of the gold answers of kind math {len(wordy)} are words, such as {', '.join(wordy[:3])}: "
                'set verifier = "exact" to compare words, or remove these problems.',
                file=sys.stderr,
            )
        for comparison, status in self._pool.ask(list(comparisons)).items():
            problem = comparisons[comparison]
            if status == "verifier_crash":
                raise PermixError(f"math-verify ended on the gold answer of problem {problem.id}: run it again.")
            if status != "correct":
                raise BadInput(_bad_gold(problem))


def _direct(completion: str, problem: Problem | str) -> Verdict | Comparison | code.Submission:
    """Return the verdict, or the question for math-verify or the sandbox where one of them decides."""
    if isinstance(problem, str):
        problem = Problem("", "", problem)
    if problem.kind == "code":
        program = code.find(completion)
        return (
            code.Submission(problem.id, program, problem.gold, problem.tests) if program else Verdict("no_code", None)
        )
    gold, text = problem.gold.strip(), answers.find(completion, problem.rule, problem.kind)
    if text is None:
        return Verdict("no_answer", None)
    if problem.kind == "choice":
        letter = answers.letter(text)
        if letter is None:
            return Verdict("no_answer", None)
        return Verdict("correct" if letter == answers.letter(gold) else "wrong", letter)
    if problem.kind == "exact":
        return Verdict("correct" if answers.words(text) == answers.words(gold) else "wrong", text[:LONGEST])
    if len(text) > LONGEST:
        return Verdict("too_costly", text[:LONGEST])
    if (same := answers.same_number(text, gold)) is not None:
        return Verdict("correct" if same else "wrong", text)
    if text == gold:
        return Verdict("correct", text)
    return Comparison(answers.decimal(gold) or gold, answers.decimal(text) or text)


def _bad_gold(problem: Problem) -> str:
    kinds = {"math": "a number or formula that math-verify reads", "choice": "a letter A-J", "exact": "a text"}
    expected = kinds[problem.kind]
    return f"The gold answer {problem.gold!r} of problem {problem.id} is not {expected}: correct or remove it."


def gold_text(value: Any) -> str:
    """Return a gold answer of a table as text; a number keeps its digits and gets no exponent."""
    number = value.item() if hasattr(value, "item") else value
    if isinstance(number, float | Decimal) and "e" in str(number).lower():
        return f"{Decimal(str(number)):f}"
    return str(number)


def _message_text(messages: Sequence[Any]) -> str:
    content = messages[-1]["content"] if messages else ""
    if isinstance(content, list):
        return "".join(str(part.get("text") or "") for part in content if part.get("type", "text") == "text")
    return str(content or "")


_shared: Verifier | None = None
_shared_lock = threading.Lock()


def shared() -> Verifier:
    """Return the verifier of this process, for callers that cannot hold one; it ends with the process."""
    global _shared
    with _shared_lock:
        if _shared is None:
            _shared = Verifier()
            atexit.register(_shared.close)
        return _shared


def accuracy_reward(
    completions: Sequence[Any],
    gold: Sequence[Any],
    kind: Sequence[Kind] | None = None,
    log_extra: Callable[[str, list[Any]], None] | None = None,
    **_: Any,
) -> list[float | None]:
    """Return the score of each completion as a TRL reward; `gold` and `kind` are columns of the training set.

    A completion is a text or a list of messages, whose last one is graded; a gold may be a number. None (a row without
    reward) marks a failure of ours. Not a coroutine, which TRL would run on another thread.
    """
    texts = [c if isinstance(c, str) else _message_text(c) for c in completions]
    kinds: Sequence[Kind] = kind or ["math"] * len(gold)
    problems = [Problem("", "", gold_text(g), k) for g, k in zip(gold, kinds, strict=True)]
    verdicts = shared().grade_many(zip(texts, problems, strict=True))
    if log_extra:
        log_extra("extracted", [verdict.extracted for verdict in verdicts])
        log_extra("status", [verdict.status for verdict in verdicts])
    return [verdict.score for verdict in verdicts]
