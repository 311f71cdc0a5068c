"""The judges' scores of the variants as rows of a table: PersonaGym (Table 10, C.2)."""

import functools
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from permix import parquet
from permix.errors import BadInput
from permix.paper import variants
from permix.results.measures.intervals import t_interval

Row = dict[str, Any]
Paired = Callable[[Mapping[str, Any], Mapping[str, Any]], Mapping[str, float]]
GYM = "personagym"
"""The benchmark of these rows, as in the paper's cells."""
CONSISTENCY = "persona_consistency"
"""The task that Tables 2 and 3 print: how consistent an answer is with the persona."""


def read(runs: Sequence[tuple[str, int]], folders: Mapping[str, Path]) -> list[Row]:
    """Return a row per artifact: `mean` and tasks with _low and _high. BadInput: other questions, personas, judges."""
    summaries = {(name, seed): summary(folders[f"{name}-seed{seed}"]) for name, seed in runs}
    (first, reference), *others = summaries.items()
    for run, other in others:
        for condition, value in _conditions(other).items():
            if value != _conditions(reference)[condition]:
                names = " and ".join(f"{name}-seed{seed}" for name, seed in (first, run))
                raise BadInput(f"The PersonaGym scores of {names} differ in {condition}: make both with one recipe.")
    return [_row(*run, scored) for run, scored in summaries.items()]


def _conditions(scored: Mapping[str, Any]) -> dict[str, Any]:
    return {"questions": scored["questions"], "personas": scored["personas"], "judges": sorted(scored["judges"])}


def _row(name: str, seed: int, scored: Mapping[str, Any]) -> Row:
    row: Row = {"variant": name, "title": variants.get(name).title, "seed": seed, "benchmark": GYM}
    for measure, level in {**scored["score"]["tasks"], "mean": scored["score"]}.items():
        row |= {measure: level["mean"], f"{measure}_low": level["low"], f"{measure}_high": level["high"]}
    return row | {"judges": ", ".join(scored["judges"])}


def summary(folder: Path) -> dict[str, Any]:
    """Return the numbers of an artifact of stage personagym or preference."""
    return dict(json.loads((folder / "summary.json").read_text(encoding="utf-8")))


def measures(row: Mapping[str, Any]) -> list[str]:
    """Return the tasks and `mean`, in the order of the row."""
    return [key.removesuffix("_low") for key in row if key.endswith("_low")]


def of_variants(rows: Sequence[Row]) -> list[Row]:
    """Return one line per variant, over its seeds."""
    names = dict.fromkeys(row["variant"] for row in rows)
    return [over_seeds([row for row in rows if row["variant"] == name]) for name in names]


def over_seeds(rows: Sequence[Row]) -> Row:
    """Return a variant's line from a row per seed: means with t intervals, cut at the ends of the judges' scale."""
    from permix.results.measures import fidelity

    first = rows[0]
    line: Row = {key: first[key] for key in ("variant", "title", "benchmark", "judges")} | {"seeds": len(rows)}
    for measure in measures(first):
        names = [f"{measure}{end}" for end in ("", "_low", "_high")]
        values = [row[measure] for row in rows]
        if len(rows) == 1:
            ends = tuple(first[name] for name in names)
        else:
            ends = (None, None, None) if None in values else t_interval(values, fidelity.SCALE)
        line |= dict(zip(names, ends, strict=True))
    return line


def pairing(folders: Mapping[str, Path], otherwise: Paired) -> Paired:
    """Return `paired(first, second)`, which exchanges personas for PersonaGym scores; `otherwise` for other rows."""

    @functools.cache
    def scores(name: str) -> list[Row]:
        names = summary(folders[name])["judges"]  # without the tiebreaker
        rows = parquet.read(parquet.data_file(folders[name], "scores"))
        return [row for row in rows if row["judge"] in names]

    @functools.cache
    def test(first: str, second: str) -> Mapping[str, float]:
        from permix.results.measures import fidelity

        compared = fidelity.compare(scores(first), scores(second))
        ends = ("low", "high", "p_value")
        undefined = float("nan")
        return {
            key: undefined if value is None else value
            for measure, gap in compared.items()
            for key, value in {measure: gap["mean"], **{f"{measure}_{end}": gap[end] for end in ends}}.items()
        }

    def paired(first: Mapping[str, Any], second: Mapping[str, Any]) -> Mapping[str, float]:
        if first["benchmark"] != GYM:
            return otherwise(first, second)
        return test(*(f"{row['variant']}-seed{row['seed']}" for row in (first, second)))

    return paired
