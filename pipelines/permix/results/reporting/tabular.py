"""The tables as text: for the terminal, a Markdown page, a LaTeX paper and a spreadsheet.

A line is one variant on one benchmark, written by stage tables: numbers by name, `<name>_low` and `<name>_high` for an
interval.
"""

import csv
import io
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from permix.paper import variants
from permix.results.claims.claims import RULE
from permix.results.formatting import decimal, difference_interval, ranged

Line = Mapping[str, Any]
NO_PSS = "pss is not defined: no persona has a right answer"
_CLAIM = "  {:<16} {:<8} {:<20} {:<7}  {:>9}  {:<16}  {:>5}  {}"


def as_text(facts: Mapping[str, Any]) -> str:
    """Return the tables and the verdicts on the claims, for a terminal of 120 columns."""
    blocks = []
    for benchmark, lines in facts["tables"].items():
        seeds = max(line["seeds"] for line in lines)
        size = f"{lines[0]['problems']} problems x {lines[0]['runs']} runs x {lines[0]['personas']} personas"
        blocks.append(f"{benchmark}: {size}, {seeds} seed{'s' if seeds > 1 else ''}\n{_aligned(lines)}")
    if facts["claims"]:
        titles = ("benchmark", "measure", "from -> to", "claim", "to - from", "95 % interval", "p", "verdict")
        head = ["What the numbers show", _CLAIM.format(*titles)]
        blocks.append("\n".join([*head, *map(_sentence, facts["claims"])]))
    return "\n\n".join([*blocks, legend(facts, COLUMNS)])


def of_sweep(summary: Mapping[str, Any]) -> str:
    """Return one sweep's numbers for a terminal: per benchmark two lines, then its personas from worst to best."""
    blocks = []
    for name, numbers in summary["benchmarks"].items():
        pss, accuracies = numbers["pss"], numbers["accuracy"]
        size = f"{numbers['problems']} problems x {numbers['runs']} runs x {numbers['personas']} personas"
        keys = ("pss", "worst", "best", "mean", "pss_corrected")
        statistics = [f"{key} {_ranged(pss, key)}" for key in keys if pss[key] is not None]
        statistics += [] if pss["best"] else [NO_PSS]
        context = [f"personas without effect: {decimal(pss['pss_null'])} (p {decimal(pss['p_value'])})"]
        if recovery := numbers.get("recovery"):
            context.append(f"recovery {ranged(recovery['accuracy'], recovery['low'], recovery['high'])}")
        context += [f"{key} {decimal(accuracies[key])}" for key in ("none", "helpful") if key in accuracies]
        context += ["worst reaches 0, so PSS means nothing"] if pss["floor"] else []
        if refused := numbers.get("refused"):
            context.append("refused by the server: " + ", ".join(f"{key} {count}" for key, count in refused.items()))
        if sound := numbers.get("sound"):
            value = _ranged(sound["pss"], "pss") if "pss" in sound else "–"
            context.append(f"pss without the {len(sound['left_out'])} problems that are marked as broken {value}")
        width = max(map(len, accuracies))
        personas = sorted(numbers["by_persona"].items(), key=lambda item: accuracies[item[0]])
        table = [f"  {key:{width}}  {ranged(accuracies[key], ends['low'], ends['high'])}" for key, ends in personas]
        blocks.append("\n".join([f"{name}: {size}", ", ".join(statistics), ", ".join(context), *table]))
    return "\n\n".join(blocks)


def legend(facts: Mapping[str, Any], columns: Iterable[str]) -> str:
    """Return what `columns` (COLUMNS or PAGE) mean, and how intervals and verdicts are computed."""
    seeds = max(line["seeds"] for lines in facts["tables"].values() for line in lines)
    intervals = "bootstrap over problems"
    if seeds > 1:
        intervals = f"Student's t over {seeds} seeds (shares: cut at 0 and 1); for a single seed {intervals}"
    text = [
        f"PSS = worst / best accuracy over personas. {'; '.join(MEANINGS[key] for key in columns if key in MEANINGS)}.",
        RULE,
        f"Intervals: 95 %, {intervals}. Star: the interval of worst reaches 0, so PSS means nothing.",
    ]
    if any(line.get("recovery") is not None for lines in facts["tables"].values() for line in lines):
        text.append(
            "recov.: recovery, the share of answers whose persona a classifier names from the text, mean over "
            "personas. It is trained on other problems. Chance: 1 / personas."
        )
    if facts["toy"]:
        text.append(
            "voice: share of answers in the persona's voice, by the exact markers of the toy world. The interval of a "
            "single seed is Wilson's, with all answers to one problem as one cluster."
        )
        text.append(
            "Toy world: it demonstrates the method. The size of each effect is set by the design of that world."
        )
    text += facts.get("notes", [])
    return "\n".join(textwrap.fill(line, 120) for line in text)


def _mark(line: Line) -> str:
    return "*" if line["floor"] else ""


def _ranged(line: Line, name: str) -> str:
    return ranged(*(line.get(key) for key in (name, f"{name}_low", f"{name}_high")))


COLUMNS: dict[str, Callable[[Line], str]] = {
    "variant": lambda line: str(line["title"]),
    "worst": lambda line: decimal(line["worst"]),
    "best": lambda line: decimal(line["best"]),
    "mean": lambda line: decimal(line["mean"]),
    "PSS [95 %]": lambda line: "none right" if line["pss"] is None else _ranged(line, "pss") + _mark(line),
    "noise": lambda line: decimal(line["pss_null"]),
    "p": lambda line: decimal(line["p_value"]),
    "corr.": lambda line: decimal(line["pss_corrected"]),
    "none": lambda line: decimal(line["none"]),
    "helpful": lambda line: decimal(line["helpful"]),
    "recov.": lambda line: decimal(line.get("recovery")),
    "voice": lambda line: decimal(line["voice"]),
}
_RANGED = {"recov.": "recovery"} | {name: name for name in ("worst", "best", "mean", "voice")}
PAGE = COLUMNS | {column: lambda line, name=name: _ranged(line, name) for column, name in _RANGED.items()}
PAGE |= {"gap": lambda line: decimal(line["gap"]), "mean of run PSS": lambda line: decimal(line["mean_of_run_pss"])}
MEANINGS = {
    "noise": "noise: expected PSS if personas had no effect",
    "p": "p: probability of a PSS this low in that case (of several seeds, the largest)",
    "corr.": "corr.: PSS without sampling noise",
    "none": "none and helpful: accuracy without a system message and with the usual one",
    "gap": "gap: best - worst",
    "mean of run PSS": "mean of run PSS: mean of the PSS of each run; lower, because a single run is noisier",
}
"""What columns mean whose names do not say it."""


def _aligned(lines: Sequence[Line]) -> str:
    table = [list(COLUMNS), *([cell(line) for cell in COLUMNS.values()] for line in lines)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    left = {0, list(COLUMNS).index("PSS [95 %]")}
    rows = []
    for row in table:
        cells = enumerate(zip(row, widths, strict=True))
        rows.append("  ".join(text.ljust(w) if i in left else text.rjust(w) for i, (text, w) in cells).rstrip())
    return "\n".join(rows)


def as_markdown(lines: Sequence[Line]) -> str:
    """Return one benchmark's table for a page, with the columns of PAGE."""
    table = [list(PAGE), ["---"] * len(PAGE), *([cell(line) for cell in PAGE.values()] for line in lines)]
    return "".join(f"| {' | '.join(row)} |\n" for row in table)


def as_latex(lines: Sequence[Line]) -> str:
    """Return one benchmark's table for a paper; it needs the LaTeX package booktabs."""

    def escaped(text: str) -> str:
        return "".join(f"\\{c}" if c in "&%$#_{}" else c for c in text)

    table = [list(PAGE), *([cell(line) for cell in PAGE.values()] for line in lines)]
    head, *body = [" & ".join(map(escaped, row)) + r" \\" for row in table]
    start = rf"\begin{{tabular}}{{l{'r' * (len(PAGE) - 1)}}}"
    return "\n".join([start, r"\toprule", head, r"\midrule", *body, r"\bottomrule", r"\end{tabular}", ""])


def as_csv(lines: Sequence[Line]) -> str:
    """Return one benchmark's lines with every number in full precision."""
    text = io.StringIO()
    columns = list(dict.fromkeys(key for line in lines for key in line))
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return text.getvalue()


def claims_as_markdown(claims: Sequence[Mapping[str, Any]]) -> str:
    """Return the verdicts on the claims as a table for a page."""
    rows = [
        "| benchmark | measure | from | to | claim | to - from | 95 % interval | p | verdict | interval by |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for claim in claims:
        names = [variants.get(claim[name]).title for name in ("first", "second")]
        numbers = f"{claim['difference']:+.3f}", difference_interval(claim), decimal(claim["p_value"])
        cells = [claim["benchmark"], claim["measure"], *names, claim["says"], *numbers]
        cells += [claim["verdict"], claim["interval"]]
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join([*rows, ""]) if claims else ""


def _sentence(claim: Mapping[str, Any]) -> str:
    names = f"{variants.get(claim['first']).title} -> {variants.get(claim['second']).title}"
    numbers = f"{claim['difference']:+.3f}", difference_interval(claim), decimal(claim["p_value"]), claim["verdict"]
    return _CLAIM.format(claim["benchmark"], claim["measure"], names, claim["says"], *numbers)
