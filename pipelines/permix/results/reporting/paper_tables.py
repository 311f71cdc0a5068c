"""The paper's tables with our numbers in them: sheets of text, written as Markdown, CSV and LaTeX."""

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from permix import files, paper
from permix.paper import variants as variant
from permix.prompting.persona import Persona
from permix.results.claims import verdicts
from permix.results.reporting import judged, table_lines

Line = Mapping[str, Any]
MEASURES = ("worst", "best", "mean", "pss")
FIDELITY = {"voice": "voice", "recovery": "recovery", "recovery_base": "recovery by base"}
"""Measures of fidelity on a benchmark's own answers, and their columns."""
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


def beside(line: Line, base_slug: str, measures: Sequence[str] = MEASURES) -> dict[str, dict[str, Any]]:
    """{measure: the paper's value, and whether the difference is inside the noise}, where the paper has this very cell.

    The paper prints no interval; its cell is as large a sample as ours, so ours is widened by the square root of 2.
    """
    found: dict[str, dict[str, Any]] = {}
    for row in paper.rows_of(line["variant"], base_slug):
        for measure in measures:
            printed = paper.values().get((row, line["benchmark"], measure))
            if printed is not None and line[measure] is not None:
                found.setdefault(measure, {"paper": printed, "inside_noise": _inside(printed, line, measure)})
    return found


def _inside(printed: float, line: Line, measure: str) -> bool | None:
    value, low, high = (line[f"{measure}{end}"] for end in ("", "_low", "_high"))
    if low is None or high is None:
        return None
    return bool(abs(printed - value) <= math.sqrt(2) * abs((low if printed < value else high) - value))


def variants(lines: Sequence[Line], base_slug: str) -> Sheet:
    """Tables 2, 3, 4, 11 and 12: every variant on every benchmark, the paper's value beside ours where it has one."""
    printed = [beside(line, base_slug) for line in lines]
    shown = [m for m in MEASURES if any(m in found for found in printed)]
    columns = ["variant", "benchmark"]
    for measure in MEASURES:
        columns += [measure if measure != "pss" else "PSS", *(["paper"] if measure in shown else [])]
    columns += ["no persona", "worst - no persona", *FIDELITY.values(), "tokens"]
    rows = []
    for line, found in zip(lines, printed, strict=True):
        row = [line["title"], line["benchmark"]]
        for measure in MEASURES:
            row += [_decimal(line[measure]), *([_printed(found.get(measure))] if measure in shown else [])]
        tokens = "-" if line["tokens_out"] is None else f"{line['tokens_out']:.0f}"
        spoken = [_decimal(line.get(measure)) for measure in FIDELITY]
        rows.append([*row, _decimal(line["none"]), _signed(line["worst_minus_none"]), *spoken, tokens])
    note = (
        "recovery: how often a classifier that learned on other problems names the persona of an answer; by base: one "
        f"that learned from the base's answers, on {table_lines.TEXTS:,} at most. tokens: mean length of a completion."
    )
    if shown:
        note += f" {NOISE}: the difference between the paper's value and ours is inside the noise."
    return Sheet("variants", "Robustness of every variant (the paper's Tables 2, 3, 4, 11, 12)", columns, rows, note)


def models(people: Sequence[Line], lines: Sequence[Line], base_slug: str) -> list[Sheet]:
    """Tables 8 and 9, a sheet for each benchmark: every model as it is under every persona, the paper's value beside.

    A cell reads `ours (the paper's)`; the last row is PSS.
    """
    found = []
    for benchmark in dict.fromkeys(row["benchmark"] for row in people):
        own = [r for r in people if r["benchmark"] == benchmark and variant.get(r["variant"]).trainer == "none"]
        if not own:
            continue
        names = {row["variant"]: model_title(row["variant"], base_slug) for row in own}
        cells = {(row["variant"], row["persona"]): row for row in own}
        persons = list(dict.fromkeys(row["persona"] for row in own))
        rows = [[who, *(_model_cell(cells[name, who], base_slug) for name in names)] for who in persons]
        pss = {line["variant"]: line for line in lines if line["benchmark"] == benchmark}
        rows.append(["PSS", *(_both(pss[n]["pss"], beside(pss[n], base_slug, ["pss"]).get("pss")) for n in names)])
        note = ""
        if any("(" in cell for row in rows for cell in row[1:]):
            note = f"In brackets: the paper's value. {NOISE}: the difference is inside the noise."
        number = {"math500": " 8", "aime2024": " 9"}.get(benchmark, "s 8, 9")
        title = f"Models as they are under every persona: {benchmark} (the paper's Table{number})"
        found.append(Sheet(f"models-{benchmark}", title, ["persona", *names.values()], rows, note))
    return found


def model_title(name: str, base_slug: str) -> str:
    """The name of an untrained row: the model's own."""
    return base_slug if name == "base" else variant.get(name).title


def _model_cell(row: Line, base_slug: str) -> str:
    printed = None
    for model in paper.rows_of(row["variant"], base_slug):
        value = paper.accuracies().get((model, row["benchmark"], row["persona"]))
        if value is not None:
            printed = {"paper": value, "inside_noise": _inside(value, row, "accuracy")}
    return _both(row["accuracy"], printed)


def _both(ours: float | None, printed: Mapping[str, Any] | None) -> str:
    return _decimal(ours) + ("" if printed is None else f" ({_printed(printed)})")


def personagym(lines: Sequence[Line], base_slug: str) -> Sheet | None:
    """Table 10, and the PersonaGym columns of Tables 2 and 3: judges' scores from 1 to 5 by task."""
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


def preference(found: Mapping[str, Any]) -> Sheet:
    """Table 1: which of two models stays more in character, by each judge, from the summary of stage preference."""
    columns = ["judge", "model", "WR", "WR (no-tie)", "net margin", "paper: WR"]
    names = {which: found[which] for which in ("first", "second")}
    printed = {model: share / 100 for model, share in paper.printed("table_1")["win_rate_percent"].items()}
    rows = []
    for name, by in found["judges"].items():
        for which, model in names.items():
            rate = by[f"{which}_wr"]
            said = printed.get(paper.model_of(model.removesuffix("-base")) or "")
            line = {"wr": rate["value"], "wr_low": rate["low"], "wr_high": rate["high"]}
            cell = None if said is None or rate["value"] is None else {"paper": said}
            if cell is not None and said is not None:
                cell["inside_noise"] = _inside(said, line, "wr")
            margin = _ranged(by["net_margin"], sign=1 if which == "first" else -1)
            shares = [_ranged(rate), _ranged(by[f"{which}_wr_no_tie"]), margin]
            rows.append([name, model, *shares, _printed(cell)])
        judged_pairs = by["first_wins"] + by["second_wins"] + by["ties"]
        tied = _decimal(by["ties"] / judged_pairs) if judged_pairs else "-"
        rows.append([name, "tie", tied, "-", "-", "-"])
    note = (
        "WR: share of pairs in which a model is preferred in both orders; net margin: its WR less the other's, with "
        f"95 % intervals over problems. {NOISE}: the difference between the paper's value and ours is inside the noise."
    )
    return Sheet("preference", "Which model stays more in character (the paper's Table 1)", columns, rows, note)


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
        "were one shift. The proposition is about one prompt: means over a dataset can break its part (iii)."
    )
    if styled:
        note += (
            " styles: shares of methods, total variation to the base's and to what Eq. 3 predicts at the beta of the "
            "training, mean over personas."
        )
    return Sheet("theory", "Theory against measurement (Proposition 1, Eq. 3)", columns, rows, note)


def theory_by_persona(tested: Sequence[Line]) -> Sheet:
    """The shift of logit accuracy under every persona by itself, and how far the common one misses each."""
    columns = ["variant", "benchmark", "persona", "1/beta [95 %]", "base", "predicted by fit", "measured", "misfit"]
    rows = []
    for line in tested:
        for row in line["fit"]["personas"]:
            shift = f"{row['shift']:.2f} [{row['low']:.2f}, {row['high']:.2f}]"
            shares = [_decimal(row[name]) for name in ("base", "predicted", "measured")]
            misfit = _signed(row["measured"] - row["predicted"])
            rows.append([line["title"], line["benchmark"], row["persona"], shift, *shares, misfit])
    note = "Proposition 1 says that 1/beta is one number. misfit: measured less predicted accuracy."
    return Sheet("theory-personas", "1/beta fitted under each persona (Proposition 1)", columns, rows, note)


def statements(rows: Sequence[Line], *, toy: bool) -> Sheet:
    """The paper's statements with both verdicts."""
    columns = ["", "statement", "section", "read as", "paper's numbers", "ours"]
    cells = []
    for row in rows:
        reading = "; ".join(filter(None, (row["reading"], row["formula"])))
        found = verdicts.verdict(row["paper"]), verdicts.verdict(row["ours"])
        cells.append([str(row["number"]), f'"{row["quote"]}"', row["section"], reading, *found])
    note = f"{verdicts.RULE} {verdicts.TOY_STANDS_FOR}" if toy else verdicts.RULE
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


def _ranged(found: Mapping[str, float | None], sign: int = 1) -> str:
    value, low, high = (found[key] for key in ("value", "low", "high"))
    if value is None or low is None or high is None:
        return _decimal(value)
    ends = sorted((sign * low, sign * high))
    return f"{sign * value:.3f} [{ends[0]:.2f}, {ends[1]:.2f}]"


def _printed(found: Mapping[str, Any] | None) -> str:
    return "-" if found is None else _decimal(found["paper"]) + (NOISE if found["inside_noise"] else "")
