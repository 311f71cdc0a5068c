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


def nearest(word: str, words: Iterable[str], unlisted: Iterable[str] = ()) -> str:
    """Return `did you mean X?` for what is closest to `word`, else the list of all `words`.

    `unlisted` may be meant too, but are too many to list.
    """
    known = sorted(words)
    close = closest(word, [*known, *unlisted])
    return f"did you mean {close!r}?" if close else f"known: {', '.join(known)}."


def closest(word: str, words: Iterable[str], cutoff: float = 0.5) -> str | None:
    """Which of `words` is most like `word`, None where none is; 1 as `cutoff` asks for the same, 0 takes any."""
    return next(iter(difflib.get_close_matches(word, list(words), n=1, cutoff=cutoff)), None)
