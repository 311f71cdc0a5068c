"""The paper's tables with our numbers in them: sheets of text, written as Markdown, CSV and LaTeX."""

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from permix import files, paper
from permix.persona import Persona
from permix.results import verdicts

Line = Mapping[str, Any]
MEASURES = ("worst", "best", "mean", "pss")
NOISE = "≈"
"""Behind a value of the paper's: the difference to ours is inside the noise."""
_LATEX = {c: f"\\{c}" for c in "&%$#_{}"} | {"≈": r"$\approx$", "<": r"$<$", ">": r"$>$", "~": r"\textasciitilde{}"}


@dataclass(frozen=True)
class Sheet:
    """One table: `name` is its file's, `note` stands under it."""

    name: str
    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""


def beside(line: Line, base_slug: str) -> dict[str, dict[str, Any]]:
    """{measure: the paper's value, and whether the difference is inside the noise}, where the paper has this very cell.

    The paper prints no interval; its cell is as large a sample as ours, so ours is widened by the square root of 2.
    """
    found: dict[str, dict[str, Any]] = {}
    for measure in MEASURES:
        printed = paper.values().get((line["variant"], line["benchmark"], measure))
        if base_slug != paper.BASE or printed is None or line[measure] is None:
            continue
        low, high = line[f"{measure}_low"], line[f"{measure}_high"]
        inside = None
        if low is not None and high is not None:
            end = low if printed < line[measure] else high
            inside = abs(printed - line[measure]) <= math.sqrt(2) * abs(end - line[measure])
        found[measure] = {"paper": printed, "inside_noise": inside}
    return found


def variants(lines: Sequence[Line], base_slug: str) -> Sheet:
    """Tables 2, 3, 4, 11 and 12: every variant on every benchmark, the paper's value beside ours where it has one."""
    printed = [beside(line, base_slug) for line in lines]
    shown = [m for m in MEASURES if any(m in found for found in printed)]
    columns = ["variant", "benchmark"]
    for measure in MEASURES:
        columns += [measure if measure != "pss" else "PSS", *(["paper"] if measure in shown else [])]
    columns += ["no persona", "worst - no persona", "voice", "tokens"]
    rows = []
    for line, found in zip(lines, printed, strict=True):
        row = [line["title"], line["benchmark"]]
        for measure in MEASURES:
            row += [_decimal(line[measure]), *([_printed(found.get(measure))] if measure in shown else [])]
        tokens = "-" if line["tokens_out"] is None else f"{line['tokens_out']:.0f}"
        row += [_decimal(line["none"]), _signed(line["worst_minus_none"]), _decimal(line["voice"]), tokens]
        rows.append(row)
    note = "tokens: mean length of a completion."
    if shown:
        note += f" {NOISE}: the difference between the paper's value and ours is inside the noise."
    return Sheet("variants", "Robustness of every variant (the paper's Tables 2, 3, 4, 11, 12)", columns, rows, note)


def base_personas(people: Sequence[Line], base_slug: str) -> Sheet | None:
    """Tables 8 and 9: the base under every persona, with the paper's column where the base is one of its models."""
    own = [row for row in people if row["variant"] == "base"]
    benchmarks = list(dict.fromkeys(row["benchmark"] for row in own))
    if not own:
        return None
    model = paper.model_of(base_slug)
    cells = {(r["persona"], r["benchmark"]): r["value"] for r in paper.rows() if model and r["row"] == model}
    shown = [b for b in benchmarks if any(key[1] == b for key in cells)]
    accuracy = {(row["persona"], row["benchmark"]): row["accuracy"] for row in own}
    columns = ["persona", *(name for b in benchmarks for name in (b, *(["paper"] if b in shown else [])))]
    rows = []
    for who in dict.fromkeys(row["persona"] for row in own):
        row = [who]
        for b in benchmarks:
            row += [_decimal(accuracy[who, b]), *([_decimal(cells.get((who, b)))] if b in shown else [])]
        rows.append(row)
    note = f"paper: {model} in the paper's Tables 8 and 9." if shown else ""
    return Sheet("base-personas", "The base model under every persona (the paper's Tables 8, 9)", columns, rows, note)


def training(settings: Sequence[tuple[str, str, str]]) -> Sheet:
    """Tables 5, 6 and 7: the settings of each trainer, the paper's beside ours; `settings` are (table, key, value)."""
    rows: list[list[str]] = []
    for table, printed in paper.printed("tables_5_6_7").items():
        number = table.removeprefix("table").partition("_")[0]
        ours = {key: value for where, key, value in settings if where == number}
        if ours:
            keys = dict.fromkeys([*printed, *ours])
            said = {key: printed[key] or "not in the public text" for key in printed}
            rows += [[number, key, said.get(key, "-"), ours.get(key, "-")] for key in keys]
    return Sheet(
        "training", "Training settings (the paper's Tables 5, 6, 7)", ["table", "setting", "paper", "ours"], rows
    )


def pools(train: Sequence[Persona], held_out: Sequence[Persona]) -> Sheet:
    """Tables 13 to 15: both pools."""
    rows = [
        [pool, p.category, p.key, p.system_prompt] for pool, of in (("train", train), ("eval", held_out)) for p in of
    ]
    columns = ["pool", "category", "persona", "system prompt"]
    return Sheet("pools", "The pools of personas (the paper's Tables 13, 14, 15)", columns, rows)


def theory(tested: Sequence[Line]) -> Sheet:
    """Proposition 1 put to the test: predicted beside measured."""
    columns = ["variant", "benchmark", "PSS of the base", "measured", "predicted at beta", "predicted by fit"]
    columns += ["1/beta of the fit", "largest misfit", "p"]
    styled = any("styles" in line for line in tested)
    columns += ["styles moved", "styles off Eq. 3"] if styled else []
    rows = []
    for line in tested:
        fit, prediction = line["fit"], line.get("prediction")
        at = "-" if prediction is None else f"{_decimal(prediction['pss'])} (beta {prediction['beta']:g})"
        shift = f"{fit['shift']:.2f} [{fit['low']:.2f}, {fit['high']:.2f}]"
        row = [line["title"], line["benchmark"], _decimal(fit["pss_base"]), _decimal(fit["pss_measured"]), at]
        row += [_decimal(fit["pss_predicted"]), shift, _decimal(fit["misfit"]), _decimal(fit["p_value"])]
        if styled:
            found = list(line["styles"]["personas"].values()) if "styles" in line else []
            row += [_decimal(_mean(r[key] for r in found)) for key in ("moved", "distance")]
        rows.append(row)
    note = (
        "predicted at beta: Proposition 1 (i) on every problem, at the beta of the training. 1/beta of the fit: the "
        "one shift of logit accuracy that fits all personas best; predicted by fit: what it makes of the base; misfit: "
        "|predicted - measured| accuracy of one persona; p: chance of personas' shifts as unequal as these if there "
        "were one shift."
    )
    if styled:
        note += (
            " styles: shares of methods, total variation to the base's and to what Eq. 3 predicts at the beta of the "
            "training, mean over personas."
        )
    return Sheet("theory", "Theory against measurement (Proposition 1, Eq. 3)", columns, rows, note)


def statements(rows: Sequence[Line], *, toy: bool) -> Sheet:
    """The paper's statements with both verdicts."""
    columns = ["", "statement", "section", "read as", "paper's numbers", "ours"]
    cells = []
    for row in rows:
        reading = "; ".join(filter(None, (row["reading"], row["formula"])))
        found = verdicts.verdict(row["paper"]), verdicts.verdict(row["ours"])
        cells.append([str(row["number"]), f'"{row["quote"]}"', row["section"], reading, *found])
    note = (
        "inside the noise: the comparisons that decide could be chance. For the paper's numbers that is a rough bound "
        "(no intervals are printed)."
    )
    if toy:
        note += " In the toy world arithmetic stands for GSM8K, arithmetic-long for MATH500, voice for PersonaGym."
    return Sheet("statements", "What the paper says, and what the numbers say", columns, cells, note)


def write(sheet: Sheet, folder: Path) -> None:
    """`<name>.md`, `.csv` and `.tex` (needs the package booktabs) in `folder`."""
    table = [sheet.columns, *sheet.rows]
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(table)
    head, *body = [" & ".join("".join(_LATEX.get(c, c) for c in cell) for cell in row) + r" \\" for row in table]
    start = rf"\begin{{tabular}}{{{'l' * len(sheet.columns)}}}"
    latex = "\n".join([start, r"\toprule", head, r"\midrule", *body, r"\bottomrule", r"\end{tabular}", ""])
    for ending, written in (("md", markdown(sheet)), ("csv", text.getvalue()), ("tex", latex)):
        files.write_bytes(folder / f"{sheet.name}.{ending}", written.encode())


def markdown(sheet: Sheet) -> str:
    """The sheet with its note, for a page."""
    table = [sheet.columns, ["---"] * len(sheet.columns), *sheet.rows]
    lines = [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in table]
    return "\n".join([*lines, *(["", sheet.note] if sheet.note else []), ""])


def _decimal(value: float | None) -> str:
    return "-" if value is None or not math.isfinite(value) else f"{value:.3f}"


def _mean(values: Iterable[float]) -> float | None:
    numbers = list(values)
    return math.fsum(numbers) / len(numbers) if numbers else None


def _signed(value: float | None) -> str:
    return "-" if value is None else f"{value:+.3f}"


def _printed(found: Mapping[str, Any] | None) -> str:
    return "-" if found is None else _decimal(found["paper"]) + (NOISE if found["inside_noise"] else "")
