"""The tables as text: for the terminal, a Markdown page, a LaTeX paper and a spreadsheet.

A line is one variant on one benchmark, as stage tables makes it: numbers by name, with `<name>_low` and `<name>_high`
where there is an interval.
"""

import csv
import io
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from permix.paper import variants
from permix.results.claims.claims import RULE

Line = Mapping[str, Any]
NO_PSS = "pss is not defined: no persona has a right answer"
_CLAIM = "  {:<16} {:<8} {:<20} {:<7}  {:>9}  {:<16}  {:>5}  {}"


def as_text(facts: Mapping[str, Any]) -> str:
    """The tables and what they show, for a terminal of 120 columns."""
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
    """One sweep's numbers for a terminal: two lines for each benchmark, and its personas from worst to best."""
    blocks = []
    for name, found in summary["benchmarks"].items():
        pss, people = found["pss"], found["accuracy"]
        size = f"{found['problems']} problems x {found['runs']} runs x {found['personas']} personas"
        keys = ("pss", "worst", "best", "mean", "pss_corrected")
        shown = [f"{key} {_ranged(pss, key)}" for key in keys if pss[key] is not None]
        shown += [] if pss["best"] else [NO_PSS]
        beside = [f"personas without effect: {_decimal(pss['pss_null'])} (p {_decimal(pss['p_value'])})"]
        if recovered := found.get("recovery"):
            ends = {f"recovery_{end}": recovered[end] for end in ("low", "high")}
            beside.append(f"recovery {_ranged({'recovery': recovered['accuracy'], **ends}, 'recovery')}")
        controls = [f"{key} {_decimal(people[key])}" for key in ("none", "helpful") if key in people]
        floor = ["worst reaches 0, so PSS means nothing"] if pss["floor"] else []
        if sound := found.get("sound"):
            value = _ranged(sound["pss"], "pss") if "pss" in sound else "–"
            floor.append(f"pss without the {len(sound['left_out'])} problems that are marked as broken {value}")
        width = max(map(len, people))
        table = [
            f"  {who:{width}}  {_ranged({'a': people[who], 'a_low': ends['low'], 'a_high': ends['high']}, 'a')}"
            for who, ends in sorted(found["by_persona"].items(), key=lambda item: people[item[0]])
        ]
        blocks.append("\n".join([f"{name}: {size}", ", ".join(shown), ", ".join([*beside, *controls, *floor]), *table]))
    return "\n\n".join(blocks)


def legend(facts: Mapping[str, Any], columns: Iterable[str]) -> str:
    """What `columns` (COLUMNS or PAGE) mean and how far the numbers go."""
    seeds = max(line["seeds"] for lines in facts["tables"].values() for line in lines)
    intervals = "bootstrap over problems"
    if seeds > 1:
        intervals = f"Student's t over {seeds} seeds, of shares cut at 0 and 1; where there is one seed, {intervals}"
    text = [
        f"PSS = worst / best accuracy over personas. {'; '.join(MEANINGS[one] for one in columns if one in MEANINGS)}.",
        RULE,
        f"Intervals: 95 %, {intervals}. A star: worst reaches 0 within its interval, so PSS means nothing.",
    ]
    if any(line.get("recovery") is not None for lines in facts["tables"].values() for line in lines):
        text.append(
            "recov.: recovery, how often a classifier that learned on other problems names the persona of an answer "
            "from its text, mean over personas (guessing: 1 / personas)."
        )
    if facts["toy"]:
        text.append(
            "voice: share of answers in the persona's own voice, by the toy world's exact markers; the interval of one "
            "seed is Wilson's, and all answers to one problem count as one cluster."
        )
        text.append(
            "Toy world: it demonstrates the method; how large an effect is follows from how that world was designed."
        )
    text += facts.get("notes", [])
    return "\n".join(textwrap.fill(line, 120) for line in text)


def _mark(line: Line) -> str:
    return "*" if line["floor"] else ""


def _ranged(line: Line, name: str) -> str:
    value, low, high = (line.get(key) for key in (name, f"{name}_low", f"{name}_high"))
    return _decimal(value) + (f" [{low:.2f}, {high:.2f}]" if low is not None and high is not None else "")


def _decimal(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


COLUMNS: dict[str, Callable[[Line], str]] = {
    "variant": lambda line: str(line["title"]),
    "worst": lambda line: _decimal(line["worst"]),
    "best": lambda line: _decimal(line["best"]),
    "mean": lambda line: _decimal(line["mean"]),
    "PSS [95 %]": lambda line: "none right" if line["pss"] is None else _ranged(line, "pss") + _mark(line),
    "noise": lambda line: _decimal(line["pss_null"]),
    "p": lambda line: _decimal(line["p_value"]),
    "corr.": lambda line: _decimal(line["pss_corrected"]),
    "none": lambda line: _decimal(line["none"]),
    "helpful": lambda line: _decimal(line["helpful"]),
    "recov.": lambda line: _decimal(line.get("recovery")),
    "voice": lambda line: _decimal(line["voice"]),
}
_RANGED = {"recov.": "recovery"} | {name: name for name in ("worst", "best", "mean", "voice")}
PAGE = COLUMNS | {column: lambda line, name=name: _ranged(line, name) for column, name in _RANGED.items()}
PAGE |= {"gap": lambda line: _decimal(line["gap"]), "mean of run PSS": lambda line: _decimal(line["mean_of_run_pss"])}
MEANINGS = {
    "noise": "noise: the PSS expected if personas had no effect",
    "p": "p: chance of a PSS this low in that case (over seeds, the largest)",
    "corr.": "corr.: PSS with that noise taken out",
    "none": "none and helpful: accuracy with no system message and with the usual one",
    "gap": "gap: best - worst",
    "mean of run PSS": "mean of run PSS: PSS of each run by itself, then the mean; lower, since each run is noisier",
}
"""Of the columns whose name does not say it."""


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
    """One benchmark's table for a page; PAGE has its columns."""
    table = [list(PAGE), ["---"] * len(PAGE), *([cell(line) for cell in PAGE.values()] for line in lines)]
    return "".join(f"| {' | '.join(row)} |\n" for row in table)


def as_latex(lines: Sequence[Line]) -> str:
    """One benchmark's table for a paper; needs the package booktabs."""

    def escaped(text: str) -> str:
        return "".join(f"\\{c}" if c in "&%$#_{}" else c for c in text)

    table = [list(PAGE), *([cell(line) for cell in PAGE.values()] for line in lines)]
    head, *body = [" & ".join(map(escaped, row)) + r" \\" for row in table]
    start = rf"\begin{{tabular}}{{l{'r' * (len(PAGE) - 1)}}}"
    return "\n".join([start, r"\toprule", head, r"\midrule", *body, r"\bottomrule", r"\end{tabular}", ""])


def as_csv(lines: Sequence[Line]) -> str:
    """One benchmark's lines with every number in full."""
    text = io.StringIO()
    columns = list(dict.fromkeys(key for line in lines for key in line))
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return text.getvalue()


def claims_as_markdown(found: Sequence[Mapping[str, Any]]) -> str:
    """What the numbers show, as a table for a page."""
    rows = [
        "| benchmark | measure | from | to | claim | to - from | 95 % interval | p | verdict | interval by |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for claim in found:
        names = [variants.get(claim[which]).title for which in ("first", "second")]
        interval = "-" if claim["low"] is None else f"{claim['low']:+.3f} to {claim['high']:+.3f}"
        numbers = f"{claim['difference']:+.3f}", interval, _decimal(claim["p_value"])
        cells = [claim["benchmark"], claim["measure"], *names, claim["says"], *numbers]
        cells += [claim["verdict"], claim["interval"]]
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join([*rows, ""]) if found else ""


def _sentence(claim: Mapping[str, Any]) -> str:
    names = f"{variants.get(claim['first']).title} -> {variants.get(claim['second']).title}"
    interval = "-" if claim["low"] is None else f"[{claim['low']:+.3f}, {claim['high']:+.3f}]"
    numbers = f"{claim['difference']:+.3f}", interval, _decimal(claim["p_value"]), claim["verdict"]
    return _CLAIM.format(claim["benchmark"], claim["measure"], names, claim["says"], *numbers)
