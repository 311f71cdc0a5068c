"""The numbers of a table: one row for each sweep and benchmark, and one line over the seeds of a variant."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from permix.paper import variants
from permix.prompting import persona
from permix.results.claims import claims
from permix.results.reporting import judged

Row = dict[str, Any]
MEASURED = ("worst", "best", "mean", "pss", "pss_corrected")  # each with _low and _high
ALONE = (
    "worst_minus_none",
    "pss_null",
    "gap",
    "worst_quarter",
    "std_personas",
    "std_runs",
    "mean_of_run_pss",
)
BOUNDS = {"worst_minus_none": (-1.0, 1.0), "tokens_out": (0.0, math.inf)}
"""Of numbers that are no shares; all others lie in [0, 1]."""
ANNOTATED = (
    "worst",
    "best",
    "mean",
    "pss",
    "pss_null",
    "p_value",
    "pss_corrected",
    "none",
    "helpful",
    "recovery",
    "recovery_base",
    "voice",
)
"""What an adapter's card shows."""
OUTSIDE = ("none", "helpful", "recovery", "recovery_base", "voice", "truncated", "tokens_out")
TEXTS = 4_000
"""Answers of a sweep that tell its recovery by a classifier of the base's: enough for an interval of .02."""


def read(
    runs: Sequence[tuple[str, int]], benchmarks: Sequence[str], folders: Mapping[str, Path]
) -> tuple[list[Row], list[Row]]:
    """Rows of every sweep and benchmark, and of every persona of theirs, from the summaries of the sweeps."""
    from permix.results.measures import sweeps

    rows: list[Row] = []
    people: list[Row] = []
    for benchmark in benchmarks:
        for name, seed in runs:
            folder = folders[f"{name}-seed{seed}"]
            found = sweeps.summary(folder, name, benchmark)
            row: Row = {"variant": name, "title": variants.get(name).title, "seed": seed, "benchmark": benchmark}
            rows.append(row | _numbers(found) | _voice(folder, benchmark, found))
            for who, accuracy in found["accuracy"].items():
                voice = (found["voice_by_persona"] or {}).get(who)
                where = {"variant": name, "seed": seed, "benchmark": benchmark, "persona": who, "accuracy": accuracy}
                ends = {f"accuracy_{end}": found["by_persona"][who][end] for end in ("low", "high")}
                people.append({**where, **ends, "voice": voice})
        _by_base([row for row in rows if row["benchmark"] == benchmark], folders)
    return rows, people


def _by_base(rows: Sequence[Row], folders: Mapping[str, Path]) -> None:
    """Add `recovery_base` to the rows of one benchmark: recovery by a classifier that learned from the base's answers.

    Where `recovery` asks whether personas differ, this asks whether they still sound as the base played them. None
    without a base.
    """
    from permix.results.measures import recovery, sweeps

    def answers(row: Row) -> list[Row]:
        runs = math.ceil(TEXTS / (row["problems"] * row["personas"]))  # recovery takes the first runs first
        return sweeps.answers(folders[f"{row['variant']}-seed{row['seed']}"], row["benchmark"], runs)

    base = next((row for row in rows if row["variant"] == "base"), None)
    learned = recovery.learn(answers(base), TEXTS) if base else None
    for row in rows:
        found = (learned.ask(answers(row), draws=1000) if learned else None) or {}
        ends = (("", "accuracy"), ("_low", "low"), ("_high", "high"))
        row |= {f"recovery_base{end}": found.get(key) for end, key in ends}


def annotation(row: Row, sweep: str) -> list[Row]:
    """The numbers of one row of `read`, as the cards of adapters show them; `sweep` is their datasets/org/name@sha."""
    return [
        {
            "benchmark": row["benchmark"],
            "sweep": sweep,
            "metric": name,
            "value": row[name],
            "low": row.get(f"{name}_low"),
            "high": row.get(f"{name}_high"),
        }
        for name in ANNOTATED
        if row[name] is not None
    ]


def _numbers(found: Mapping[str, Any]) -> Row:
    statistics = found["pss"]
    ends = [f"{name}_{end}" for name in (*MEASURED, "pss_null") for end in ("low", "high")]
    row: Row = {name: _number(statistics.get(name)) for name in (*MEASURED, *ALONE, "p_value", *ends)}
    row |= {name: statistics[name] for name in ("floor", "worst_persona", "best_persona")}
    row |= {name: found[name] for name in ("problems", "runs", "personas", "truncated", "tokens_out")}
    row |= {control.key: found["accuracy"].get(control.key) for control in persona.CONTROLS}
    row["worst_minus_none"] = None if row["none"] is None else row["worst"] - row["none"]
    recovered = found.get("recovery") or {}
    row |= {f"recovery{end}": recovered.get(key) for end, key in (("", "accuracy"), ("_low", "low"), ("_high", "high"))}
    return row | {"voice": found["voice"]}


def _voice(folder: Path, benchmark: str, found: Mapping[str, Any]) -> Row:
    """The ends of voice's interval, from the answers of a sweep; None where there is no voice."""
    from permix.results.measures import sweep_numbers, sweeps

    measured = found["voice"] is not None
    ends = sweep_numbers.voice_interval(sweeps.answers(folder, benchmark, found["runs"])) if measured else (None, None)
    return dict(zip(("voice_low", "voice_high"), ends, strict=True))


def _number(value: float | None) -> float | None:
    """None for what is not defined: JSON has no nan."""
    return None if value is None or not math.isfinite(value) else float(value)


def of_variants(rows: Sequence[Row]) -> list[Row]:
    """One line for each benchmark and variant, in the order of the rows."""
    keys = dict.fromkeys((row["benchmark"], row["variant"]) for row in rows)
    return [over_seeds([row for row in rows if (row["benchmark"], row["variant"]) == key]) for key in keys]


def add_consistency(lines: Sequence[Row], scored: Sequence[Row]) -> None:
    """Put the judges' score of each variant's persona consistency (results.judged) beside its sweeps; None without."""
    by = {row["variant"]: row for row in scored}
    names = [f"{judged.CONSISTENCY}{end}" for end in ("", "_low", "_high")]
    for line in lines:
        line |= {name: by.get(line["variant"], {}).get(name) for name in names}


def over_seeds(rows: Sequence[Row]) -> Row:
    """One line of a table from the rows of one variant on one benchmark, one row per seed.

    Of several seeds: means with t intervals cut at BOUNDS, which of a share are 0 and 1; the largest p_value.
    """
    first = rows[0]
    if len(rows) == 1:
        return {**first, "seeds": 1, "interval": "bootstrap"}
    line: Row = {k: first[k] for k in ("variant", "title", "benchmark", "problems", "runs", "personas")}
    line |= {"seeds": len(rows), "interval": "t"}
    for name in (*MEASURED, *ALONE, *OUTSIDE):
        values, bounds = [row[name] for row in rows], BOUNDS.get(name, (0.0, 1.0))
        found = (None, None, None) if None in values else claims.t_interval(values, bounds)
        line[name], line[f"{name}_low"], line[f"{name}_high"] = found
    worst = [row["p_value"] for row in rows if row["p_value"] is not None]
    line |= {"p_value": max(worst, default=None), "floor": any(row["floor"] for row in rows)}
    return line | {k: Counter(row[k] for row in rows).most_common(1)[0][0] for k in ("worst_persona", "best_persona")}
