"""From a growing text to the pieces that a reader gets."""

from collections.abc import Iterator, Sequence


def pieces(texts: Iterator[str], stop: Sequence[str]) -> Iterator[str]:
    """Yield the last of `texts` in consecutive pieces, up to the first stop string.

    A possible beginning of a stop string and half of a character are held back until the next text decides.
    """
    sent, text = 0, ""
    for text in texts:
        if (end := first_stop(text, stop)) >= 0:
            if end > sent:
                yield text[sent:end]
            return
        undecided = max((n for s in stop for n in range(1, len(s)) if text.endswith(s[:n])), default=0)
        sure = len(text[: len(text) - undecided].rstrip("\ufffd"))
        if sure > sent:
            yield text[sent:sure]
            sent = sure
    if text[sent:]:
        yield text[sent:]


def first_stop(text: str, stop: Sequence[str]) -> int:
    """Return the position of the first stop string in `text`, or -1."""
    return min((at for at in map(text.find, stop) if at >= 0), default=-1)
