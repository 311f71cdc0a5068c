"""The paper's tables with our numbers in them: sheets of text, written as Markdown, CSV and LaTeX."""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from permix import files, paper
from permix.paper import variants as variant
from permix.prompting.persona import Persona
from permix.results import formatting
from permix.results.claims import verdicts
from permix.results.formatting import decimal, ranged
from permix.results.measures.intervals import mean
from permix.results.reporting import judged, table_lines

Line = Mapping[str, Any]
MEASURES = ("worst", "best", "mean", "pss")
FIDELITY = {"voice": "voice", "recovery": "recovery", "recovery_base": "recovery by base"}
"""{measure of fidelity on a benchmark's answers: its column}."""
NOISE = "≈"
"""After a value of the paper: its difference to ours is inside the noise."""


@dataclass(frozen=True)
class Sheet:
    """One table; `name` is the name of its file, `note` is printed under it."""

    name: str
    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""


def beside(line: Line, base_slug: str, measures: Sequence[str] = MEASURES) -> dict[str, dict[str, Any]]:
    """Return {measure: the paper's value, and whether the difference is inside the noise} for cells of the paper.

    The paper prints no intervals. Its samples are as large as ours, so our interval is widened by the square root of 2.
    """
    cells: dict[str, dict[str, Any]] = {}
    for row in paper.rows_of(line["variant"], base_slug):
        for measure in measures:
            printed = paper.values().get((row, line["benchmark"], measure))
            if printed is not None and line[measure] is not None:
                cells.setdefault(measure, {"paper": printed, "inside_noise": _inside(printed, line, measure)})
    return cells


def _inside(printed: float, line: Line, measure: str) -> bool | None:
    value, low, high = (line[f"{measure}{end}"] for end in ("", "_low", "_high"))
    if low is None or high is None:
        return None
    return bool(abs(printed - value) <= math.sqrt(2) * abs((low if printed < value else high) - value))


def variants(lines: Sequence[Line], base_slug: str) -> Sheet:
    """Return Tables 2, 3, 4, 11 and 12: every variant on every benchmark, with the paper's values next to ours."""
    printed = [beside(line, base_slug) for line in lines]
    in_paper = {measure for cells in printed for measure in cells}
    columns = ["variant", "benchmark"]
    for measure in MEASURES:
        columns += [measure if measure != "pss" else "PSS", *(["paper"] if measure in in_paper else [])]
    columns += ["no persona", "worst - no persona", *FIDELITY.values(), "tokens"]
    rows = []
    for line, cells in zip(lines, printed, strict=True):
        row = [line["title"], line["benchmark"]]
        for measure in MEASURES:
            row += [decimal(line[measure]), *([_printed(cells.get(measure))] if measure in in_paper else [])]
        tokens = "-" if line["tokens_out"] is None else f"{line['tokens_out']:.0f}"
        fidelity = [decimal(line.get(measure)) for measure in FIDELITY]
        rows.append([*row, decimal(line["none"]), decimal(line["worst_minus_none"], "+.3f"), *fidelity, tokens])
    note = (
        "recovery: share of answers whose persona a classifier names, trained on other problems. recovery by base: the "
        f"same with a classifier trained on at most {table_lines.TEXTS:,} answers of the base. tokens: mean length "
        "of a completion."
    )
    if in_paper:
        note += f" {NOISE}: the difference between the paper's value and ours is inside the noise."
    return Sheet("variants", "Robustness of every variant (the paper's Tables 2, 3, 4, 11, 12)", columns, rows, note)


def models(people: Sequence[Line], lines: Sequence[Line], base_slug: str) -> list[Sheet]:
    """Return Tables 8 and 9, a sheet per benchmark of untrained models by persona: `ours (the paper's)`, last PSS."""
    sheets = []
    for benchmark in dict.fromkeys(row["benchmark"] for row in people):
        own = [r for r in people if r["benchmark"] == benchmark and variant.get(r["variant"]).trainer == "none"]
        if not own:
            continue
        names = {row["variant"]: model_title(row["variant"], base_slug) for row in own}
        cells = {(row["variant"], row["persona"]): row for row in own}
        persons = list(dict.fromkeys(row["persona"] for row in own))
        rows = [[key, *(_model_cell(cells[name, key], base_slug) for name in names)] for key in persons]
        pss = {line["variant"]: line for line in lines if line["benchmark"] == benchmark}
        rows.append(["PSS", *(_both(pss[n]["pss"], beside(pss[n], base_slug, ["pss"]).get("pss")) for n in names)])
        note = ""
        if any("(" in cell for row in rows for cell in row[1:]):
            note = f"In brackets: the paper's value. {NOISE}: the difference is inside the noise."
        number = {"math500": " 8", "aime2024": " 9"}.get(benchmark, "s 8, 9")
        title = f"Untrained models under every persona: {benchmark} (the paper's Table{number})"
        sheets.append(Sheet(f"models-{benchmark}", title, ["persona", *names.values()], rows, note))
    return sheets


def model_title(name: str, base_slug: str) -> str:
    """Return the name of an untrained model."""
    return base_slug if name == "base" else variant.get(name).title


def _model_cell(row: Line, base_slug: str) -> str:
    printed = None
    for model in paper.rows_of(row["variant"], base_slug):
        value = paper.accuracies().get((model, row["benchmark"], row["persona"]))
        if value is not None:
            printed = {"paper": value, "inside_noise": _inside(value, row, "accuracy")}
    return _both(row["accuracy"], printed)


def _both(ours: float | None, printed: Mapping[str, Any] | None) -> str:
    return decimal(ours) + ("" if printed is None else f" ({_printed(printed)})")


def personagym(lines: Sequence[Line], base_slug: str) -> Sheet | None:
    """Return Table 10 and the PersonaGym columns of Tables 2 and 3: judges' scores from 1 to 5 by task."""
    if not lines:
        return None
    measures = judged.measures(lines[0])
    columns = ["variant", *(measure.replace("_", " ") for measure in measures)]
    rows = []
    for line in lines:
        printed = beside(line, base_slug, measures)
        rows.append([line["title"], *(_both(line[m], printed.get(m)) for m in measures)])
    note = f"Scores from 1 to 5 by {lines[0]['judges']}, mean over personas."
    if any("(" in cell for row in rows for cell in row[1:]):
        note += f" In brackets: the paper's value. {NOISE}: the difference is inside the noise."
    return Sheet("personagym", "Persona fidelity by PersonaGym (the paper's Table 10)", columns, rows, note)


def preference(summary: Mapping[str, Any]) -> Sheet:
    """Return Table 1: which of two models stays more in character, by judge, from the summary of stage preference."""
    columns = ["judge", "model", "WR", "WR (no-tie)", "net margin", "paper: WR"]
    printed = {model: share / 100 for model, share in paper.printed("table_1")["win_rate_percent"].items()}
    rows = []
    for judge, rates in summary["judges"].items():
        for position, sign in (("first", 1), ("second", -1)):
            model, rate, margin = summary[position], rates[f"{position}_wr"], rates["net_margin"]
            share = printed.get(paper.model_of(model.removesuffix("-base")) or "")
            line = {"wr": rate["value"], "wr_low": rate["low"], "wr_high": rate["high"]}
            cell = None
            if share is not None and rate["value"] is not None:
                cell = {"paper": share, "inside_noise": _inside(share, line, "wr")}
            keys = ("value", "low", "high") if sign > 0 else ("value", "high", "low")
            signed = (None if margin[key] is None else sign * margin[key] for key in keys)
            shares = [ranged(**rate), ranged(**rates[f"{position}_wr_no_tie"]), ranged(*signed)]
            rows.append([judge, model, *shares, _printed(cell)])
        judged_pairs = rates["first_wins"] + rates["second_wins"] + rates["ties"]
        tied = decimal(rates["ties"] / judged_pairs) if judged_pairs else "-"
        rows.append([judge, "tie", tied, "-", "-", "-"])
    note = (
        "WR: share of pairs in which a model is preferred in both orders. net margin: its WR minus the other's. "
        f"Intervals: 95 %, over problems. {NOISE}: the difference to the paper's value is inside the noise."
    )
    return Sheet("preference", "Which model stays more in character (the paper's Table 1)", columns, rows, note)


def training(settings: Sequence[tuple[str, str, str]]) -> Sheet:
    """Return Tables 5, 6 and 7: each trainer's settings, the paper's next to ours, from (table, key, value)."""
    rows: list[list[str]] = []
    for table, printed in paper.printed("tables_5_6_7").items():
        number = table.removeprefix("table").partition("_")[0]
        ours = {key: value for own_table, key, value in settings if own_table == number}
        if ours:
            keys = dict.fromkeys([*printed, *ours])
            theirs = {key: printed[key] or "not in the public text" for key in printed}
            rows += [[number, key, theirs.get(key, "-"), ours.get(key, "-")] for key in keys]
    return Sheet(
        "training", "Training settings (the paper's Tables 5, 6, 7)", ["table", "setting", "paper", "ours"], rows
    )


def pools(train: Sequence[Persona], held_out: Sequence[Persona]) -> Sheet:
    """Return Tables 13 to 15: both pools."""
    rows = [
        [pool, persona.category, persona.key, persona.system_prompt]
        for pool, personas in (("train", train), ("eval", held_out))
        for persona in personas
    ]
    columns = ["pool", "category", "persona", "system prompt"]
    return Sheet("pools", "The pools of personas (the paper's Tables 13, 14, 15)", columns, rows)


def theory(tested: Sequence[Line]) -> Sheet:
    """Return predicted and measured numbers of Proposition 1."""
    columns = ["variant", "benchmark", "PSS of the base", "measured", "predicted at beta", "predicted by fit"]
    columns += ["1/beta of the fit", "largest misfit", "p"]
    styled = any("styles" in line for line in tested)
    columns += ["styles moved", "styles off Eq. 3"] if styled else []
    rows = []
    for line in tested:
        fit, prediction = line["fit"], line.get("prediction")
        at = "-" if prediction is None else f"{decimal(prediction['pss'])} (beta {prediction['beta']:g})"
        shift = f"{fit['shift']:.2f} [{fit['low']:.2f}, {fit['high']:.2f}]"
        row = [line["title"], line["benchmark"], decimal(fit["pss_base"]), decimal(fit["pss_measured"]), at]
        row += [decimal(fit["pss_predicted"]), shift, decimal(fit["misfit"]), decimal(fit["p_value"])]
        if styled:
            personas = list(line["styles"]["personas"].values()) if "styles" in line else []
            row += [decimal(mean(shares[key] for shares in personas)) for key in ("moved", "distance")]
        rows.append(row)
    note = (
        "predicted at beta: Proposition 1 (i) on every problem, at the beta of the training. 1/beta of the fit: the "
        "single shift of logit accuracy that fits all personas best. predicted by fit: base PSS after that shift. "
        "misfit: |predicted - measured| accuracy of one persona. p: probability of shifts as unequal as these if all "
        "personas had one shift. The proposition is about one prompt: means over a dataset can break its part (iii)."
    )
    if styled:
        note += (
            " styles: total variation distance of the shares of methods from the base's, and from those that Eq. 3 "
            "predicts at the beta of the training, mean over personas."
        )
    return Sheet("theory", "Theory against measurement (Proposition 1, Eq. 3)", columns, rows, note)


def theory_by_persona(tested: Sequence[Line]) -> Sheet:
    """Return the shift of logit accuracy of every persona, and how far the common shift misses its accuracy."""
    columns = ["variant", "benchmark", "persona", "1/beta [95 %]", "base", "predicted by fit", "measured", "misfit"]
    rows = []
    for line in tested:
        for row in line["fit"]["personas"]:
            shift = f"{row['shift']:.2f} [{row['low']:.2f}, {row['high']:.2f}]"
            shares = [decimal(row[name]) for name in ("base", "predicted", "measured")]
            misfit = decimal(row["measured"] - row["predicted"], "+.3f")
            rows.append([line["title"], line["benchmark"], row["persona"], shift, *shares, misfit])
    note = "Proposition 1 says that 1/beta is one number. misfit: measured minus predicted accuracy."
    return Sheet("theory-personas", "1/beta fitted under each persona (Proposition 1)", columns, rows, note)


def statements(rows: Sequence[Line], *, toy: bool) -> Sheet:
    """Return the paper's statements with the verdicts on the paper's numbers and on ours."""
    columns = ["", "statement", "section", "read as", "paper's numbers", "ours"]
    cells = []
    for row in rows:
        reading = "; ".join(filter(None, (row["reading"], row["formula"])))
        both = verdicts.verdict(row["paper"]), verdicts.verdict(row["ours"])
        cells.append([str(row["number"]), f'"{row["quote"]}"', row["section"], reading, *both])
    note = f"{verdicts.RULE} {verdicts.TOY_STANDS_FOR}" if toy else verdicts.RULE
    return Sheet("statements", "What the paper says, and what the numbers say", columns, cells, note)


def write(sheet: Sheet, folder: Path) -> None:
    """Write `<name>.md`, `.csv` and `.tex` (it needs the package booktabs) in `folder`."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([sheet.columns, *sheet.rows])
    latex = formatting.latex(sheet.columns, sheet.rows, "l" * len(sheet.columns))
    for ending, written in (("md", markdown(sheet)), ("csv", text.getvalue()), ("tex", latex)):
        files.write_bytes(folder / f"{sheet.name}.{ending}", written.encode())


def markdown(sheet: Sheet) -> str:
    """Return the sheet with its note as Markdown."""
    rows = [[cell.replace("|", "\\|") for cell in row] for row in sheet.rows]
    return formatting.markdown(sheet.columns, rows) + (f"\n{sheet.note}\n" if sheet.note else "")


def _printed(cell: Mapping[str, Any] | None) -> str:
    return "-" if cell is None else decimal(cell["paper"]) + (NOISE if cell["inside_noise"] else "")
