"""A calibration: settings to try one grid after the other, and the printed rows that tell which is the paper's.

    [calibrate.goal]        rlvr = {gsm8k = [0.84, 0.876]}      worst and best accuracy of that row, by benchmark
    [[calibrate.grid]]      variant = "rlvr"                    the row that is looked at
                            grpo.lora_r = [16, 8]               keys of the recipe, a value for each point;
                            grpo.lora_alpha = [32, 16]          several keys change together

The first point of each grid is where the others start.
"""

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from permix.errors import BadInput
from permix.paper import variants

Settings = dict[str, Any]
Goal = Mapping[str, tuple[float, float]]


@dataclass(frozen=True)
class Grid:
    """Settings to try on one variant."""

    variant: str
    points: tuple[Settings, ...]


@dataclass(frozen=True)
class Calibration:
    """What a recipe's table [calibrate] says; `goals` is {variant: {benchmark: (worst, best)}}."""

    goals: Mapping[str, Goal]
    grids: tuple[Grid, ...]

    @property
    def start(self) -> Settings:
        """The first point of every grid together."""
        return {key: value for grid in self.grids for key, value in grid.points[0].items()}

    def designs(self, tag: str) -> Iterator[list[str]]:
        """The changes of every point of every grid, as if the start were the best of those before."""
        for grid in self.grids:
            for point in grid.points:
                yield self.changes(grid.variant, {**self.start, **point}, tag)

    def changes(self, variant: str, settings: Settings, tag: str) -> list[str]:
        """What to change of the recipe to measure `variant` with `settings`, as `key=value`.

        The tag says which of them are not the start's.
        """
        moved = {key: value for key, value in settings.items() if value != self.start[key]}
        words = [f"{key.rpartition('.')[2]}{value}" for key, value in sorted(moved.items())]
        name = "-".join(re.sub(r"[^A-Za-z0-9._-]", "", word) for word in [tag, *words] if word)
        every = settings | {"tag": name, "variants": [variant]}
        return [f"{key}={json.dumps(value)}" for key, value in every.items()]


def read(table: Mapping[str, Any], benchmarks: Sequence[str], where: str) -> Calibration:
    """Check the table [calibrate] of a recipe that measures `benchmarks`; `where` names it in errors."""
    if unknown := set(table) - {"goal", "grid"}:
        raise BadInput(f"{where} has an unknown key {min(unknown)!r}: it should be goal or grid.")
    goals = {name: _goal(found, benchmarks, f"goal.{name} of {where}") for name, found in table.get("goal", {}).items()}
    grids = tuple(_grid(found, f"a grid of {where}") for found in table.get("grid", []))
    for name in {*goals, *(grid.variant for grid in grids)}:
        if variants.get(name).persona:
            raise BadInput(f"{where} names {name}: tuned on rows with persona mixing, a run would be no reproduction.")
    if not grids:
        raise BadInput(f"{where} has no grid: add [[calibrate.grid]] with a variant and keys to change.")
    if missing := [grid.variant for grid in grids if grid.variant not in goals]:
        raise BadInput(f"{where} has no goal for {missing[0]}: give the worst and best accuracy of that row.")
    return Calibration(goals, grids)


def distance(goal: Goal, found: Goal) -> float:
    """The root mean square difference of worst and best accuracy over the benchmarks."""
    gaps = [mine - wanted for name in goal for mine, wanted in zip(found[name], goal[name], strict=True)]
    return math.sqrt(sum(gap * gap for gap in gaps) / len(gaps))


def _goal(found: Any, benchmarks: Sequence[str], where: str) -> Goal:
    if not isinstance(found, dict) or not found or not set(found) <= set(benchmarks):
        raise BadInput(f"{where} should be {{benchmark = [worst, best]}} with {' or '.join(benchmarks)}.")
    for name, ends in found.items():
        shares = isinstance(ends, list) and all(isinstance(end, int | float) and 0 <= end <= 1 for end in ends)
        if not shares or len(ends) != 2 or ends[0] > ends[1]:
            raise BadInput(f"{name} in {where} is {ends}: it should be [worst, best], shares from 0 to 1.")
    return {name: (float(worst), float(best)) for name, (worst, best) in found.items()}


def _grid(found: Any, where: str) -> Grid:
    if not isinstance(found, dict) or not isinstance(found.get("variant"), str):
        raise BadInput(f"{where} names no variant: say which row it is judged by, for example variant = 'base'.")
    columns = dict(_flat({key: value for key, value in found.items() if key != "variant"}))
    lengths = {len(values) if isinstance(values, list) else 0 for values in columns.values()}
    if len(lengths) != 1 or 0 in lengths:
        raise BadInput(f"{where} needs keys of the recipe, each with a list of values, all of one length.")
    rows = zip(*columns.values(), strict=True)
    return Grid(found["variant"], tuple(dict(zip(columns, row, strict=True)) for row in rows))


def _flat(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """{"grpo": {"beta": …}} as ("grpo.beta", …)."""
    for key, value in table.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
