"""The tables as text: for the terminal, a Markdown page, a LaTeX paper and a spreadsheet.

A line is one variant on one benchmark, by stage tables: numbers by name, `<name>_low` and `<name>_high` of intervals.
"""

import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from permix.paper import variants
from permix.results import formatting
from permix.results.claims.claims import RULE
from permix.results.formatting import aligned, decimal, difference_interval, ranged

Line = Mapping[str, Any]
TOY = "Toy world: it demonstrates the method. The size of each effect is set by the design of that world."
NO_PSS = "pss is not defined: no persona has a right answer"
_CLAIM = "  {:<16} {:<8} {:<20} {:<7}  {:>9}  {:<16}  {:>5}  {}"


def as_text(facts: Mapping[str, Any]) -> str:
    """Return the tables and the verdicts on the claims, for a terminal of 120 columns."""
    blocks = []
    for benchmark, lines in facts["tables"].items():
        seeds = max(line["seeds"] for line in lines)
        size = f"{lines[0]['problems']} problems x {lines[0]['runs']} runs x {lines[0]['personas']} personas"
        table = aligned([list(COLUMNS), *cells(lines, COLUMNS)], left=(0, list(COLUMNS).index("PSS [95 %]")))
        blocks.append(f"{benchmark}: {size}, {seeds} seed{'s' if seeds > 1 else ''}\n{table}")
    if facts["claims"]:
        rows = [["benchmark", "measure", "from -> to", "claim", "to - from", "95 % interval", "p", "verdict"]]
        for benchmark, measure, first, second, *rest in map(_claim, facts["claims"]):
            rows.append([benchmark, measure, f"{first} -> {second}", *rest])
        blocks.append("\n".join(["What the numbers show", *(_CLAIM.format(*row) for row in rows)]))
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
        text.append(TOY)
    text += facts.get("notes", [])
    return "\n".join(textwrap.fill(line, 120) for line in text)


def _ranged(line: Line, name: str) -> str:
    return ranged(*(line.get(key) for key in (name, f"{name}_low", f"{name}_high")))


COLUMNS: dict[str, Callable[[Line], str]] = {
    "variant": lambda line: str(line["title"]),
    "worst": lambda line: decimal(line["worst"]),
    "best": lambda line: decimal(line["best"]),
    "mean": lambda line: decimal(line["mean"]),
    "PSS [95 %]": lambda line: "none right" if line["pss"] is None else _ranged(line, "pss") + "*" * line["floor"],
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


def cells(lines: Sequence[Line], columns: Mapping[str, Callable[[Line], str]] = PAGE) -> list[list[str]]:
    """Return a row of cells for each line."""
    return [[cell(line) for cell in columns.values()] for line in lines]


def as_markdown(lines: Sequence[Line]) -> str:
    """Return one benchmark's table for a page, with the columns of PAGE."""
    return formatting.markdown(list(PAGE), cells(lines))


def as_latex(lines: Sequence[Line]) -> str:
    """Return one benchmark's table for a paper; it needs the LaTeX package booktabs."""
    return formatting.latex(list(PAGE), cells(lines), f"l{'r' * (len(PAGE) - 1)}")


def claims_as_markdown(claims: Sequence[Line]) -> str:
    """Return the verdicts on the claims as a table for a page."""
    titles = ["benchmark", "measure", "from", "to", "claim", "to - from", "95 % interval", "p", "verdict"]
    rows = [[*_claim(claim), claim["interval"]] for claim in claims]
    table = formatting.markdown([*titles, "interval by"], rows) if rows else ""
    return table.replace(" --- ", "---")  # as in the cards that are published


def _claim(claim: Line) -> list[str]:
    """Return the cells of a claim, from its benchmark to its verdict."""
    names = [variants.get(claim[name]).title for name in ("first", "second")]
    numbers = f"{claim['difference']:+.3f}", difference_interval(claim), decimal(claim["p_value"])
    return [claim["benchmark"], claim["measure"], *names, claim["says"], *numbers, claim["verdict"]]
