"""A calibration: grids of settings to try in order, and the printed rows to compare them with.

    [calibrate.goal]        rlvr = {gsm8k = [0.84, 0.876]}      worst and best accuracy of that row, by benchmark
    [[calibrate.grid]]      variant = "rlvr"                    the row to compare with
                            grpo.lora_r = [16, 8]               keys of the recipe, a value for each point;
                            grpo.lora_alpha = [32, 16]          several keys change together

The first point of each grid is its start.
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
    """A recipe's table [calibrate]; `goals` is {variant: {benchmark: (worst, best)}}."""

    goals: Mapping[str, Goal]
    grids: tuple[Grid, ...]

    @property
    def start(self) -> Settings:
        """The first point of every grid together."""
        return {key: value for grid in self.grids for key, value in grid.points[0].items()}

    def designs(self, tag: str) -> Iterator[list[str]]:
        """Yield the changes of every point of every grid, as if the start were the best point of the grids before."""
        for grid in self.grids:
            for point in grid.points:
                yield self.changes(grid.variant, {**self.start, **point}, tag)

    def changes(self, variant: str, settings: Settings, tag: str) -> list[str]:
        """Return the recipe's changes that measure `variant` with `settings`; the tag names those that differ."""
        moved = {key: value for key, value in settings.items() if value != self.start[key]}
        words = [f"{key.rpartition('.')[2]}{value}" for key, value in sorted(moved.items())]
        name = "-".join(re.sub(r"[^A-Za-z0-9._-]", "", word) for word in [tag, *words] if word)
        changes = settings | {"tag": name, "variants": [variant]}
        return [f"{key}={json.dumps(value)}" for key, value in changes.items()]


def read(table: Mapping[str, Any], benchmarks: Sequence[str], where: str) -> Calibration:
    """Check the table [calibrate] of a recipe that measures `benchmarks`; `where` names it in errors."""
    if unknown := set(table) - {"goal", "grid"}:
        raise BadInput(f"{where} has an unknown key {min(unknown)!r}: it should be goal or grid.")
    goals = {name: _goal(row, benchmarks, f"goal.{name} of {where}") for name, row in table.get("goal", {}).items()}
    grids = tuple(_grid(grid, f"a grid of {where}") for grid in table.get("grid", []))
    for name in {*goals, *(grid.variant for grid in grids)}:
        if variants.get(name).persona:
            raise BadInput(f"{where} names {name}: settings tuned on rows with persona mixing reproduce nothing.")
    if not grids:
        raise BadInput(f"{where} has no grid: add [[calibrate.grid]] with a variant and keys to change.")
    if missing := [grid.variant for grid in grids if grid.variant not in goals]:
        raise BadInput(f"{where} has no goal for {missing[0]}: give the worst and best accuracy of that row.")
    return Calibration(goals, grids)


def distance(goal: Goal, measured: Goal) -> float:
    """Return the root mean square difference of worst and best accuracy over the benchmarks."""
    gaps = [ours - theirs for name in goal for ours, theirs in zip(measured[name], goal[name], strict=True)]
    return math.sqrt(sum(gap * gap for gap in gaps) / len(gaps))


def _goal(row: Any, benchmarks: Sequence[str], where: str) -> Goal:
    if not isinstance(row, dict) or not row or not set(row) <= set(benchmarks):
        raise BadInput(f"{where} should be {{benchmark = [worst, best]}} with {' or '.join(benchmarks)}.")
    for name, ends in row.items():
        shares = isinstance(ends, list) and all(isinstance(end, int | float) and 0 <= end <= 1 for end in ends)
        if not shares or len(ends) != 2 or ends[0] > ends[1]:
            raise BadInput(f"{name} in {where} is {ends}: it should be [worst, best], shares from 0 to 1.")
    return {name: (float(worst), float(best)) for name, (worst, best) in row.items()}


def _grid(table: Any, where: str) -> Grid:
    if not isinstance(table, dict) or not isinstance(table.get("variant"), str):
        raise BadInput(f"{where} names no variant: give the row to compare with, for example variant = 'base'.")
    columns = dict(_flat({key: value for key, value in table.items() if key != "variant"}))
    lengths = {len(values) if isinstance(values, list) else 0 for values in columns.values()}
    if len(lengths) != 1 or 0 in lengths:
        raise BadInput(f"{where} needs keys of the recipe, each with a list of values, all of one length.")
    rows = zip(*columns.values(), strict=True)
    return Grid(table["variant"], tuple(dict(zip(columns, row, strict=True)) for row in rows))


def _flat(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in table.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
