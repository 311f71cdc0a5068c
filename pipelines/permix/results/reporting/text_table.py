"""Tables for a terminal."""

from collections.abc import Collection, Iterable, Sequence


def aligned(rows: Iterable[Sequence[str]], left: Collection[int] = (0,)) -> str:
    """Return lines with columns of equal width, two spaces apart; the columns `left` are aligned to the left."""
    rows = list(rows)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = enumerate(zip(row, widths, strict=True))
        lines.append("  ".join(text.ljust(w) if i in left else text.rjust(w) for i, (text, w) in cells).rstrip())
    return "\n".join(lines)


def decimal(value: float | None, form: str = ".3f") -> str:
    """Return a number as text; "-" where it is not defined."""
    return "-" if value is None or value != value else format(value, form)
