"""The numbers of a table: one row for each sweep and benchmark, and one line over the seeds of a variant."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from permix import persona, variant
from permix.results import claims

Row = dict[str, Any]
MEASURED = ("worst", "best", "mean", "pss", "pss_corrected")  # each with _low and _high
ALONE = (
    "worst_minus_none",
    "pss_null",
    "p_value",
    "gap",
    "worst_quarter",
    "std_personas",
    "std_runs",
    "mean_of_run_pss",
)
OUTSIDE = ("none", "helpful", "recovery", "voice", "truncated", "tokens_out")


def read(
    runs: Sequence[tuple[str, int]], benchmarks: Sequence[str], folders: Mapping[str, Path]
) -> tuple[list[Row], list[Row]]:
    """Rows of every sweep and benchmark, and of every persona of theirs, from the summaries of the sweeps."""
    from permix.results import sweeps

    rows: list[Row] = []
    people: list[Row] = []
    for benchmark in benchmarks:
        for name, seed in runs:
            found = sweeps.summary(folders[f"{name}-seed{seed}"], name, benchmark)
            title = variant.get(name).title
            rows.append({"variant": name, "title": title, "seed": seed, "benchmark": benchmark, **_numbers(found)})
            for who, accuracy in found["accuracy"].items():
                voice = (found["voice_by_persona"] or {}).get(who)
                where = {"variant": name, "seed": seed, "benchmark": benchmark}
                people.append({**where, "persona": who, "accuracy": accuracy, "voice": voice})
    return rows, people


def _numbers(found: Mapping[str, Any]) -> Row:
    statistics, voice = found["pss"], found["voice"]
    ends = [f"{name}_{end}" for name in (*MEASURED, "pss_null") for end in ("low", "high")]
    row: Row = {name: _number(statistics.get(name)) for name in (*MEASURED, *ALONE, *ends)}
    row |= {name: statistics[name] for name in ("floor", "worst_persona", "best_persona")}
    row |= {name: found[name] for name in ("problems", "runs", "personas", "truncated", "tokens_out")}
    row |= {control.key: found["accuracy"].get(control.key) for control in persona.CONTROLS}
    row["worst_minus_none"] = None if row["none"] is None else row["worst"] - row["none"]
    answers = found["problems"] * found["runs"] * found["personas"]
    low, high = claims.share_interval(voice, answers) if voice is not None else (None, None)
    recovered = found.get("recovery") or {}
    row |= {f"recovery{end}": recovered.get(key) for end, key in (("", "accuracy"), ("_low", "low"), ("_high", "high"))}
    return row | {"voice": voice, "voice_low": low, "voice_high": high}


def _number(value: float | None) -> float | None:
    """None for what is not defined: JSON has no nan."""
    return None if value is None or not math.isfinite(value) else float(value)


def over_seeds(rows: Sequence[Row]) -> Row:
    """One line of a table from the rows of one variant on one benchmark, one row per seed."""
    first = rows[0]
    if len(rows) == 1:
        return {**first, "seeds": 1, "interval": "bootstrap"}
    line: Row = {k: first[k] for k in ("variant", "title", "benchmark", "problems", "runs", "personas")}
    line |= {"seeds": len(rows), "interval": "t"}
    for name in (*MEASURED, *ALONE, *OUTSIDE):
        values = [row[name] for row in rows]
        known = [v for v in values if v is not None]
        found = claims.over_seeds(known) if len(known) == len(values) else (None, None, None)
        line[name], line[f"{name}_low"], line[f"{name}_high"] = found
    worst = [row["p_value"] for row in rows if row["p_value"] is not None]
    line |= {"p_value": max(worst, default=None), "floor": any(row["floor"] for row in rows)}
    return line | {k: Counter(row[k] for row in rows).most_common(1)[0][0] for k in ("worst_persona", "best_persona")}
