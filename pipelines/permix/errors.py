"""Errors a person reads: one sentence that says what is there, what was expected and what to do."""

import difflib
from collections.abc import Iterable


class PermixError(Exception):
    """Something failed that is not the user's input. Exit code 1."""

    exit_code = 1


class BadInput(PermixError):
    """The input is wrong. Exit code 2."""

    exit_code = 2


class Stopped(PermixError):
    """Ctrl-C. Exit code 130, as shells have it."""

    exit_code = 130


def nearest(word: str, words: Iterable[str]) -> str:
    """Return ` (did you mean X?)` for the word of `words` closest to `word`, else the list of all of them."""
    known = sorted(words)
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f"did you mean {close[0]!r}?" if close else f"known: {', '.join(known)}."
