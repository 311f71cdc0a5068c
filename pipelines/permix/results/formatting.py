"""How numbers, their intervals and tables of them are written as text."""

import csv
import io
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

_LATEX = {c: f"\\{c}" for c in "&%$#_{}"} | {"≈": r"$\approx$", "<": r"$<$", ">": r"$>$", "~": r"\textasciitilde{}"}


def decimal(value: float | None, form: str = ".3f") -> str:
    """Return a number with three decimals or in another form, "-" if it is not defined."""
    return "-" if value is None or not math.isfinite(value) else format(value, form)


def ranged(value: float | None, low: float | None, high: float | None) -> str:
    """Return `value [low, high]`, without brackets if there is no interval."""
    has_interval = value is not None and low is not None and high is not None
    return decimal(value) + (f" [{low:.2f}, {high:.2f}]" if has_interval else "")


def difference_interval(difference: Mapping[str, Any], missing: str = "-") -> str:
    """Return `+low to +high` of a difference, `missing` if it has no interval."""
    low, high = difference["low"], difference["high"]
    return missing if low is None or high is None else f"{low:+.3f} to {high:+.3f}"


def aligned(table: Iterable[Sequence[str]], left: Collection[int] = (0,)) -> str:
    """Return rows with columns of equal width, two spaces apart; the columns `left` are aligned to the left."""
    padded = []
    for number, column in enumerate(zip(*table, strict=True)):
        width = max(map(len, column))
        padded.append([cell.ljust(width) if number in left else cell.rjust(width) for cell in column])
    return "\n".join("  ".join(row).rstrip() for row in zip(*padded, strict=True))


def markdown(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table."""
    return "".join(f"| {' | '.join(row)} |\n" for row in (titles, ["---"] * len(titles), *rows))


def latex(titles: Sequence[str], rows: Iterable[Sequence[str]], alignment: str) -> str:
    """Return a LaTeX table, which needs the package booktabs; `alignment` has a letter for each column."""
    table = [" & ".join("".join(_LATEX.get(c, c) for c in cell) for cell in row) + r" \\" for row in (titles, *rows)]
    begin, end = rf"\begin{{tabular}}{{{alignment}}}", r"\end{tabular}"
    return "\n".join([begin, r"\toprule", table[0], r"\midrule", *table[1:], r"\bottomrule", end, ""])


def as_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return rows as CSV with every number in full precision; a column that a row lacks stays empty."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(dict.fromkeys(key for row in rows for key in row)), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
