"""Errors for people: one sentence with what is there, what was expected and what to do."""

import difflib
from collections import Counter
from collections.abc import Iterable


class PermixError(Exception):
    """A failure that is not caused by the input. Exit code 1."""

    exit_code = 1


class BadInput(PermixError):
    """A wrong input. Exit code 2."""

    exit_code = 2


class Stopped(PermixError):
    """Ctrl-C. Exit code 130, as in shells."""

    exit_code = 130


def counts(reasons: Iterable[str]) -> str:
    """Return how often each reason occurs, as `2 x cut, 1 x wrong`."""
    return ", ".join(f"{count} x {reason}" for reason, count in sorted(Counter(reasons).items()))


def nearest(word: str, words: Iterable[str], unlisted: Iterable[str] = ()) -> str:
    """Return `did you mean X?` for the closest of `words` and `unlisted`, else the list of `words`."""
    known = sorted(words)
    close = closest(word, [*known, *unlisted])
    return f"did you mean {close!r}?" if close else f"known: {', '.join(known)}."


def closest(word: str, words: Iterable[str], cutoff: float = 0.5) -> str | None:
    """Return the closest of `words`, None if none is close; a `cutoff` of 1 requires equality, 0 accepts any."""
    return next(iter(difflib.get_close_matches(word, list(words), n=1, cutoff=cutoff)), None)
