"""Put the sweeps of all variants side by side: the paper's Tables 2 and 3, with intervals, noise floors and pictures.

In:  the sweep of every variant and seed
Out: data/ours/test-00000-of-00001.parquet      one row per variant, seed and benchmark
     data/personas/test-00000-of-00001.parquet  one row per variant, seed, benchmark and persona
     tables/<benchmark>.{md,csv,tex}            one line per variant, over its seeds
     figures/{summary,personas}.{png,svg}

Over several seeds a number is their mean, with a 95 % t interval between them; of a single seed it has the sweep's own
bootstrap interval over problems.
"""

import json
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from permix import files, persona, variant
from permix.errors import BadInput
from permix.results import claims, tabular
from permix.results.tabular import as_text as as_text
from permix.stage import Facts, Parts, StageConfig, given
from permix.stages import sweep

if TYPE_CHECKING:
    from permix.recipe import Recipe

CARD = "tables"
VERSION = 1
Row = dict[str, Any]

MEASURED = ("worst", "best", "mean", "pss", "pss_corrected")  # each with _low and _high
ALONE = ("pss_null", "p_value", "gap", "worst_quarter", "std_personas", "std_runs", "mean_of_run_pss")
OUTSIDE = ("none", "helpful", "voice", "truncated", "tokens_out")


@dataclass(frozen=True, kw_only=True)
class Config(StageConfig):
    """`runs`: the (variant, seed) of every sweep."""

    base_slug: str = given()
    runs: tuple[tuple[str, int], ...] = given()
    benchmarks: tuple[str, ...] = given()
    toy: bool = given(default=False)


def configs(recipe: "Recipe") -> list[Config]:
    """One; none where the recipe measures nothing."""
    names = tuple(source.name for source in recipe.benchmarks)
    if not names:
        return []
    runs, toy = tuple(recipe.runs()), recipe.base == "toy"
    return [Config(org=recipe.org, tag=recipe.tag, base_slug=recipe.base_slug, runs=runs, benchmarks=names, toy=toy)]


def target(config: Config) -> str:
    """`datasets/org/permix-tables`."""
    return f"datasets/{config.name('permix-tables')}"


def inputs(config: Config) -> dict[str, str]:
    """The sweep of every variant and seed, as `<variant>-seed<n>`."""
    return {
        f"{name}-seed{seed}": sweep.repository(config.org, config.tag, config.base_slug, name, seed)
        for name, seed in config.runs
    }


def run(config: Config, inputs: Mapping[str, Path], out: Path, *, parts: Parts) -> Facts:
    """Write data, tables and figures."""
    from permix.results import figures

    rows, people = _read(config, inputs)
    keys = dict.fromkeys((r["benchmark"], r["variant"]) for r in rows)
    lines = [over_seeds([r for r in rows if (r["benchmark"], r["variant"]) == key]) for key in keys]
    tables = {b: [line for line in lines if line["benchmark"] == b] for b in config.benchmarks}
    _write_parquet(rows, out / "data" / "ours" / "test-00000-of-00001.parquet")
    _write_parquet(people, out / "data" / "personas" / "test-00000-of-00001.parquet")
    for benchmark, of in tables.items():
        for ending, written in (("md", tabular.as_markdown), ("csv", tabular.as_csv), ("tex", tabular.as_latex)):
            files.write_bytes(out / "tables" / f"{benchmark}.{ending}", written(of).encode())
    figures.summary(lines, people, out / "figures" / "summary", toy=config.toy)
    figures.personas(lines, people, out / "figures" / "personas", toy=config.toy)
    paired = _paired(inputs)
    found = [claims.examine(c, [r for r in rows if r["benchmark"] == b], paired) for b in tables for c in claims.CLAIMS]
    return {
        "rows": len(rows),
        "toy": config.toy,
        "tables": tables,
        "claims": [claim for claim in found if claim],
        "annotations": _annotations(config, rows, parts.sources),
    }


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


def _read(config: Config, inputs: Mapping[str, Path]) -> tuple[list[Row], list[Row]]:
    """The rows of both data sets, from the summaries of the sweeps."""
    rows: list[Row] = []
    people: list[Row] = []
    for benchmark in config.benchmarks:
        for name, seed in config.runs:
            summary = json.loads((inputs[f"{name}-seed{seed}"] / "summary.json").read_text(encoding="utf-8"))
            if benchmark not in summary["benchmarks"]:
                raise BadInput(f"The sweep of {name} has no benchmark {benchmark!r}: make it again with this recipe.")
            found = summary["benchmarks"][benchmark]
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
    answers = found["problems"] * found["runs"] * found["personas"]
    low, high = claims.share_interval(voice, answers) if voice is not None else (None, None)
    return row | {"voice": voice, "voice_low": low, "voice_high": high}


def _number(value: float | None) -> float | None:
    """None for what is not defined: JSON has no nan."""
    return None if value is None or not math.isfinite(value) else float(value)


def _paired(inputs: Mapping[str, Path]) -> Callable[[Mapping[str, Any], Mapping[str, Any]], Mapping[str, float]]:
    """The paired bootstrap of two sweeps on one benchmark, from their rows; computed once for each pair."""
    from permix import pss

    controls = {control.key for control in persona.CONTROLS}
    done: dict[tuple[Any, ...], Mapping[str, float]] = {}

    def scores(row: Mapping[str, Any]) -> dict[tuple[Any, ...], float]:
        table = sweep.read(inputs[f"{row['variant']}-seed{row['seed']}"], row["benchmark"])
        return {(r["persona"], r["problem_id"], r["run"]): r["score"] for r in table if r["persona"] not in controls}

    def paired(first: Mapping[str, Any], second: Mapping[str, Any]) -> Mapping[str, float]:
        key = (first["benchmark"], *(row[name] for row in (first, second) for name in ("variant", "seed")))
        if key not in done:
            one, two = scores(first), scores(second)
            if one.keys() != two.keys():
                names = f"{first['variant']} and {second['variant']}"
                raise BadInput(f"The sweeps of {names} answer different problems: make both with one recipe.")
            done[key] = pss.paired(list(one.values()), [two[k] for k in one], [k[0] for k in one], [k[1] for k in one])
        return done[key]

    return paired


def _annotations(config: Config, rows: Sequence[Row], sources: Mapping[str, str]) -> dict[str, Any]:
    """What goes onto each adapter's card: {adapter: {"rows": …}} in the shape that cards.render takes."""
    found: dict[str, Any] = {}
    for row in rows:
        if variant.get(row["variant"]).trainer == "none":
            continue
        of_seed = StageConfig(org=config.org, tag=config.tag, seed=row["seed"])
        adapter = of_seed.name(f"{config.base_slug}-{row['variant']}")
        where = {"benchmark": row["benchmark"], "sweep": sources[f"{row['variant']}-seed{row['seed']}"]}
        names = ("worst", "best", "mean", "pss", "pss_null", "p_value", "pss_corrected", "none", "helpful", "voice")
        numbers = [
            {"metric": n, "value": row[n], "low": row.get(f"{n}_low"), "high": row.get(f"{n}_high")}
            for n in names
            if row[n] is not None
        ]
        found.setdefault(adapter, {"rows": []})["rows"] += [where | number for number in numbers]
    return found


def _write_parquet(rows: Sequence[Row], path: Path) -> None:
    import pyarrow as arrow
    import pyarrow.parquet as parquet

    types = {"floor": arrow.bool_()} | dict.fromkeys(("seed", "problems", "runs", "personas"), arrow.int32())
    text = ("variant", "title", "benchmark", "persona", "worst_persona", "best_persona")
    types |= dict.fromkeys(text, arrow.string())
    schema = arrow.schema([(name, types.get(name, arrow.float64())) for name in rows[0]])
    path.parent.mkdir(parents=True)
    parquet.write_table(arrow.Table.from_pylist(list(rows), schema), path)
