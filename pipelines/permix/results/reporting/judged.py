"""What judges said of the variants, as rows beside those of the sweeps: PersonaGym's scores (Table 10, C.2)."""

import functools
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from permix import parquet
from permix.errors import BadInput
from permix.paper import variants
from permix.results.claims import claims

Row = dict[str, Any]
Paired = Callable[[Mapping[str, Any], Mapping[str, Any]], Mapping[str, float]]
GYM = "personagym"
"""In the place of the benchmark, as in the paper's cells."""
CONSISTENCY = "persona_consistency"
"""The task that Tables 2 and 3 print: how well an answer keeps to the persona."""


def read(runs: Sequence[tuple[str, int]], folders: Mapping[str, Path]) -> list[Row]:
    """One row for each artifact of stage personagym: `mean` and every task, each with _low and _high.

    BadInput where two were asked other questions or scored by other judges.
    """
    found = {(name, seed): summary(folders[f"{name}-seed{seed}"]) for name, seed in runs}
    (first, one), *others = found.items()
    for run, other in others:
        for what, value in _conditions(other).items():
            if value != _conditions(one)[what]:
                names = " and ".join(f"{name}-seed{seed}" for name, seed in (first, run))
                raise BadInput(f"The PersonaGym scores of {names} differ in {what}: make both with one recipe.")
    return [_row(*run, scored) for run, scored in found.items()]


def _conditions(scored: Mapping[str, Any]) -> dict[str, Any]:
    return {"questions": scored["questions"], "personas": scored["personas"], "judges": sorted(scored["judges"])}


def _row(name: str, seed: int, scored: Mapping[str, Any]) -> Row:
    row: Row = {"variant": name, "title": variants.get(name).title, "seed": seed, "benchmark": GYM}
    for measure, found in {**scored["score"]["tasks"], "mean": scored["score"]}.items():
        row |= {measure: found["mean"], f"{measure}_low": found["low"], f"{measure}_high": found["high"]}
    return row | {"judges": ", ".join(scored["judges"])}


def summary(folder: Path) -> dict[str, Any]:
    """The numbers of an artifact of stage personagym or preference."""
    return dict(json.loads((folder / "summary.json").read_text(encoding="utf-8")))


def measures(row: Mapping[str, Any]) -> list[str]:
    """The tasks and `mean`, in the order of the row."""
    return [key.removesuffix("_low") for key in row if key.endswith("_low")]


def of_variants(found: Sequence[Row]) -> list[Row]:
    """One line for each variant, over its seeds."""
    names = dict.fromkeys(row["variant"] for row in found)
    return [over_seeds([row for row in found if row["variant"] == name]) for name in names]


def over_seeds(found: Sequence[Row]) -> Row:
    """One line of a table from the rows of one variant, one per seed.

    Of several seeds: means with t intervals cut at the ends of the judges' scale.
    """
    from permix.results.measures import fidelity

    first = found[0]
    line: Row = {key: first[key] for key in ("variant", "title", "benchmark", "judges")} | {"seeds": len(found)}
    for measure in measures(first):
        names = [f"{measure}{end}" for end in ("", "_low", "_high")]
        values = [row[measure] for row in found]
        if len(found) == 1:
            ends = tuple(first[name] for name in names)
        else:
            ends = (None, None, None) if None in values else claims.t_interval(values, fidelity.SCALE)
        line |= dict(zip(names, ends, strict=True))
    return line


def pairing(folders: Mapping[str, Path], otherwise: Paired) -> Paired:
    """`paired(first, second)` of scores on the same questions, exchanging personas; of other rows `otherwise`."""

    @functools.cache
    def scores(name: str) -> list[Row]:
        names = summary(folders[name])["judges"]  # without the one that settles what they dispute
        found = parquet.read(folders[name] / "data" / "scores" / "test-00000-of-00001.parquet")
        return [row for row in found if row["judge"] in names]

    @functools.cache
    def of(first: str, second: str) -> Mapping[str, float]:
        from permix.results.measures import fidelity

        compared = fidelity.compare(scores(first), scores(second))
        ends = ("low", "high", "p_value")
        undefined = float("nan")
        return {
            key: undefined if value is None else value
            for measure, found in compared.items()
            for key, value in {measure: found["mean"], **{f"{measure}_{end}": found[end] for end in ends}}.items()
        }

    def paired(first: Mapping[str, Any], second: Mapping[str, Any]) -> Mapping[str, float]:
        if first["benchmark"] != GYM:
            return otherwise(first, second)
        return of(*(f"{row['variant']}-seed{row['seed']}" for row in (first, second)))

    return paired
