"""From a text that grows to the pieces that a person reads."""

from collections.abc import Iterator, Sequence


def pieces(texts: Iterator[str], stop: Sequence[str]) -> Iterator[str]:
    """Pieces of the last of `texts`, each of which goes on where the one before ended, up to the first stop string.

    Held back until it is sure: the beginning of a stop string, and half of a character.
    """
    shown, text = 0, ""
    for text in texts:
        if found := [at for at in (text.find(s) for s in stop) if at >= 0]:
            if min(found) > shown:
                yield text[shown : min(found)]
            return
        half = max((n for s in stop for n in range(1, len(s)) if text.endswith(s[:n])), default=0)
        sure = len(text[: len(text) - half].rstrip("\ufffd"))
        if sure > shown:
            yield text[shown:sure]
            shown = sure
    if text[shown:]:
        yield text[shown:]
