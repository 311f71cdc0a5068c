"""From a growing text to the pieces that a reader gets."""

from collections.abc import Generator, Iterable, Sequence


def pieces(texts: Iterable[tuple[str, str]], stop: Sequence[str]) -> Generator[str, None, str]:
    """Yield the last of `texts` in consecutive pieces, up to the first stop string; return its finish.

    `texts` has (text, finish), where the finish of a text that still grows is "". A possible beginning of a stop string
    and half of a character are held back until the next text decides.
    """
    sent, text, finish = 0, "", ""
    for text, finish in texts:  # noqa: B007 - the last finish is returned
        if (end := first_stop(text, stop)) >= 0:
            if end > sent:
                yield text[sent:end]
            return "stop"
        undecided = max((n for s in stop for n in range(1, len(s)) if text.endswith(s[:n])), default=0)
        sure = len(text[: len(text) - undecided].rstrip("\ufffd"))
        if sure > sent:
            yield text[sent:sure]
            sent = sure
    if text[sent:]:
        yield text[sent:]
    return finish or "stop"


def first_stop(text: str, stop: Sequence[str]) -> int:
    """Return the position of the first stop string in `text`, or -1."""
    return min((at for at in map(text.find, stop) if at >= 0), default=-1)
