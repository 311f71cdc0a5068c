"""Run math-verify in a killable process: a JSON line in for each answer, a word out. Started by permix.verifier.

Imports nothing of permix: it starts fast, and a Space has a copy of it.
"""

import json
import logging
import os
import resource
import signal
import sys
from functools import lru_cache
from types import FrameType
from typing import Any

ALARM = 2  # seconds of processor time for one answer, the same on a busy machine; C code that ignores the alarm is
# killed by the parent
MEMORY = 2 << 30  # bytes of address space


class _TooLong(BaseException):
    """Not an Exception, which math-verify would catch."""


def _ring(signum: int, frame: FrameType | None) -> None:
    raise _TooLong


def _limit(resource_: int, value: int) -> None:
    try:
        hard = resource.getrlimit(resource_)[1]
        resource.setrlimit(resource_, (value if hard == resource.RLIM_INFINITY else min(value, hard), hard))
    except (OSError, ValueError):
        pass  # macOS refuses some; the parent's limit stays


@lru_cache(maxsize=4096)
def _gold(gold: str) -> list[Any]:
    from math_verify import parse

    if "$" in gold.replace("\\$", "") or any(mark in gold for mark in ("\\(", "\\[", "\\boxed")):
        return list(parse(gold, parsing_timeout=None))
    return _exact(gold)


def _exact(text: str) -> list[Any]:
    from math_verify import parse
    from math_verify.parser import LatexExtractionConfig

    # As TRL's accuracy_reward reads it, but for the normalisation: \\frac34 and \\sqrt 2 are LaTeX too.
    config = LatexExtractionConfig(boxed_match_priority=0, try_extract_without_anchor=False)
    return list(parse(f"\\boxed{{{text}}}", [config], extraction_mode="first_match", parsing_timeout=None))


def _same(gold: str, answer: str) -> str:
    from math_verify import verify

    golds, answers = _gold(gold), _exact(answer)
    if not verify(golds, answers, timeout_seconds=None):
        return "wrong"
    return "wrong" if "." not in gold + answer and _differ(golds, answers) else "correct"


def _differ(golds: list[Any], answers: list[Any]) -> bool:
    """Whether two exact numbers differ that agree to the six decimals which math-verify compares."""
    from sympy import Expr

    if not (golds and answers and isinstance(golds[0], Expr) and isinstance(answers[0], Expr)):
        return False
    values = [value.evalf(30) for value in (golds[0], answers[0], golds[0] - answers[0])]
    if not all(value.is_Float for value in values[:2]) or max(map(abs, values[:2])) > 1e-3:
        return False
    return bool(abs(values[2]) > 1e-6 * abs(values[0]))


def main() -> None:
    """Answer until the parent closes the pipe."""
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    logging.disable(logging.CRITICAL)
    sys.set_int_max_str_digits(0)
    _same("\\frac{1}{2}", "0.5")  # imports everything and compiles the patterns
    _limit(resource.RLIMIT_AS, MEMORY)
    _limit(resource.RLIMIT_CORE, 0)
    signal.signal(signal.SIGPROF, _ring)
    print("ready", file=replies, flush=True)
    for line in sys.stdin:
        _limit(resource.RLIMIT_CPU, int(sum(resource.getrusage(resource.RUSAGE_SELF)[:2])) + 3 * ALARM)
        try:
            signal.setitimer(signal.ITIMER_PROF, ALARM)
            try:
                reply = _same(*json.loads(line))
            finally:
                signal.setitimer(signal.ITIMER_PROF, 0)
        except (_TooLong, MemoryError, RecursionError):
            reply = "too_costly"
        except Exception:
            reply = "wrong"  # an answer that math-verify cannot read
        print(reply, file=replies, flush=True)


if __name__ == "__main__":
    main()
