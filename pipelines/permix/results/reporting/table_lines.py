"""The numbers of a table: one row per sweep and benchmark, and one line over the seeds of a variant."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from permix.paper import variants
from permix.prompting import persona
from permix.results.measures.intervals import defined, t_interval
from permix.results.reporting import judged

Row = dict[str, Any]
MEASURED = ("worst", "best", "mean", "pss", "pss_corrected")  # each with _low and _high
ALONE = ("worst_minus_none", "pss_null", "gap", "worst_quarter", "std_personas", "std_runs", "mean_of_run_pss")
BOUNDS = {"worst_minus_none": (-1.0, 1.0), "tokens_out": (0.0, math.inf)}
"""Bounds of numbers that are not shares."""
ANNOTATED = (
    *("worst", "best", "mean", "pss", "pss_null", "p_value", "pss_corrected"),
    *("none", "helpful", "recovery", "recovery_base", "voice"),
)
"""The numbers on an adapter's card."""
OUTSIDE = ("none", "helpful", "recovery", "recovery_base", "voice", "truncated", "tokens_out")
TEXTS = 4_000
"""Answers per sweep for recovery_base: enough for an interval of .02."""


def read(
    runs: Sequence[tuple[str, int]], benchmarks: Sequence[str], folders: Mapping[str, Path]
) -> tuple[list[Row], list[Row]]:
    """Return rows per sweep and benchmark, and rows per persona, from the summaries of the sweeps."""
    from permix.results.measures import sweeps

    rows: list[Row] = []
    by_persona: list[Row] = []
    for benchmark in benchmarks:
        for name, seed in runs:
            folder = folders[f"{name}-seed{seed}"]
            summary = sweeps.summary(folder, name, benchmark)
            row: Row = {"variant": name, "title": variants.get(name).title, "seed": seed, "benchmark": benchmark}
            rows.append(row | _numbers(summary) | _voice(folder, benchmark, summary))
            for key, accuracy in summary["accuracy"].items():
                voice = (summary["voice_by_persona"] or {}).get(key)
                cell = {"variant": name, "seed": seed, "benchmark": benchmark, "persona": key, "accuracy": accuracy}
                ends = {f"accuracy_{end}": summary["by_persona"][key][end] for end in ("low", "high")}
                by_persona.append({**cell, **ends, "voice": voice})
        _by_base([row for row in rows if row["benchmark"] == benchmark], folders)
    return rows, by_persona


def _by_base(rows: Sequence[Row], folders: Mapping[str, Path]) -> None:
    """Add `recovery_base` to the rows of one benchmark: recovery by a classifier trained on the base's answers.

    `recovery` measures whether personas differ, `recovery_base` whether they sound as the base's (None without a base).
    """
    from permix.results.measures import recovery, sweeps

    def answers(row: Row) -> list[Row]:
        runs = math.ceil(TEXTS / (row["problems"] * row["personas"]))  # recovery takes the first runs first
        return sweeps.answers(folders[f"{row['variant']}-seed{row['seed']}"], row["benchmark"], runs)

    base = next((row for row in rows if row["variant"] == "base"), None)
    classifiers = recovery.train(answers(base), TEXTS) if base else None
    for row in rows:
        row |= _recovery("recovery_base", classifiers.measure(answers(row), draws=1000) if classifiers else None)


def _recovery(name: str, measured: Mapping[str, Any] | None) -> Row:
    ends = {"": "accuracy", "_low": "low", "_high": "high"}
    return {f"{name}{end}": (measured or {}).get(key) for end, key in ends.items()}


def annotation(row: Row, sweep: str) -> list[Row]:
    """Return the numbers of one row for an adapter's card; `sweep` is their datasets/org/name@sha."""
    source = {"benchmark": row["benchmark"], "sweep": sweep}
    names = [name for name in ANNOTATED if row[name] is not None]
    ends = {name: {end: row.get(f"{name}_{end}") for end in ("low", "high")} for name in names}
    return [{**source, "metric": name, "value": row[name], **ends[name]} for name in names]


def _numbers(summary: Mapping[str, Any]) -> Row:
    statistics = summary["pss"]
    ends = [f"{name}_{end}" for name in (*MEASURED, "pss_null") for end in ("low", "high")]
    row: Row = {name: defined(statistics.get(name)) for name in (*MEASURED, *ALONE, "p_value", *ends)}
    row |= {name: statistics[name] for name in ("floor", "worst_persona", "best_persona")}
    row |= {name: summary[name] for name in ("problems", "runs", "personas", "truncated", "tokens_out")}
    row |= {control.key: summary["accuracy"].get(control.key) for control in persona.CONTROLS}
    row["worst_minus_none"] = None if row["none"] is None else row["worst"] - row["none"]
    return row | _recovery("recovery", summary.get("recovery")) | {"voice": summary["voice"]}


def _voice(folder: Path, benchmark: str, summary: Mapping[str, Any]) -> Row:
    """Return the ends of voice's interval, from the answers of a sweep; None if voice was not measured."""
    from permix.results.measures import sweep_numbers, sweeps

    low = high = None
    if summary["voice"] is not None:
        low, high = sweep_numbers.voice_interval(sweeps.answers(folder, benchmark, summary["runs"]))
    return {"voice_low": low, "voice_high": high}


def of_variants(rows: Sequence[Row]) -> list[Row]:
    """Return one line per benchmark and variant, in the order of the rows."""
    keys = dict.fromkeys((row["benchmark"], row["variant"]) for row in rows)
    return [over_seeds([row for row in rows if (row["benchmark"], row["variant"]) == key]) for key in keys]


def add_consistency(lines: Sequence[Row], scored: Sequence[Row]) -> None:
    """Add each variant's persona consistency by the judges (reporting.judged) to its lines; None if not measured."""
    by = {row["variant"]: row for row in scored}
    names = [f"{judged.CONSISTENCY}{end}" for end in ("", "_low", "_high")]
    for line in lines:
        line |= {name: by.get(line["variant"], {}).get(name) for name in names}


def over_seeds(rows: Sequence[Row]) -> Row:
    """Return a variant's line on a benchmark from a row per seed: t intervals cut at BOUNDS, the largest p-value."""
    first = rows[0]
    if len(rows) == 1:
        return {**first, "seeds": 1, "interval": "bootstrap"}
    line: Row = {k: first[k] for k in ("variant", "title", "benchmark", "problems", "runs", "personas")}
    line |= {"seeds": len(rows), "interval": "t"}
    for name in (*MEASURED, *ALONE, *OUTSIDE):
        values, bounds = [row[name] for row in rows], BOUNDS.get(name, (0.0, 1.0))
        interval = (None, None, None) if None in values else t_interval(values, bounds)
        line[name], line[f"{name}_low"], line[f"{name}_high"] = interval
    worst = [row["p_value"] for row in rows if row["p_value"] is not None]
    line |= {"p_value": max(worst, default=None), "floor": any(row["floor"] for row in rows)}
    return line | {k: Counter(row[k] for row in rows).most_common(1)[0][0] for k in ("worst_persona", "best_persona")}
