"""permix calibrate: find the settings that the paper does not say, by the rows that it prints."""

import contextlib
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from permix.commands import options, run
from permix.errors import BadInput
from permix.experiment import calibration
from permix.experiment.calibration import Goal, Settings
from permix.experiment.recipe import Recipe
from permix.pipeline import plan as plans
from permix.pipeline import published, recipes

if TYPE_CHECKING:
    from permix.publishing.hub import Hub


def calibrate(
    recipe: options.Recipe = "calibrate",
    overrides: options.Set = [],  # noqa: B006 - typer reads the default, nobody changes it
    hub_url: options.HubUrl = None,
    workers: options.Workers = 0,
    work: options.Work = None,
    processes: options.Processes = 1,
) -> None:
    """Run a recipe's grids one after the other, each with the best of those before; safe to kill and start again."""
    plan = recipes.load(recipe, overrides)
    asked = plan.calibration
    if asked is None:
        raise BadInput(f"The recipe {plan.name} has no table [calibrate]: that of recipe calibrate shows one.")
    for changes in asked.designs(plan.tag):  # every key and value is checked before the first point is measured
        recipes.load(recipe, [*overrides, *changes])
    from permix.publishing import hub as hubs

    chosen = dict(asked.start)
    for each in asked.grids:
        goal = asked.goals[each.variant]
        measured: list[tuple[float, Settings]] = []
        print("\n".join(_heading(each.variant, goal)))
        for point in each.points:
            changes = [*overrides, *asked.changes(each.variant, {**chosen, **point}, plan.tag)]
            with contextlib.redirect_stdout(sys.stderr):
                run.build(
                    recipe, changes, until="sweep", hub_url=hub_url, workers=workers, work=work, processes=processes
                )
            found = _accuracies(recipes.load(recipe, changes), hubs.connect(hub_url), list(goal))
            measured.append((calibration.distance(goal, found), point))
            print(f"{_cells(found)}  {measured[-1][0]:8.4f}  {_settings(point)}", flush=True)
        chosen |= min(measured, key=lambda row: row[0])[1]
        print()
    print(f"Nearest to the printed rows: {_settings(chosen)}")


def _accuracies(plan: Recipe, hub: "Hub", benchmarks: Sequence[str]) -> Goal:
    """Worst and best accuracy of the only variant of `plan`, means over its seeds."""
    targets = [step.target for step in plans.build(plan) if step.stage.name == "sweep"]
    records = [published.artifact(target, hub).record for target in targets]
    of_seed = [record["facts"]["summary"]["benchmarks"] for record in records]
    return {
        name: (
            sum(found[name]["pss"]["worst"] for found in of_seed) / len(of_seed),
            sum(found[name]["pss"]["best"] for found in of_seed) / len(of_seed),
        )
        for name in benchmarks
    }


def _heading(variant: str, goal: Goal) -> list[str]:
    titles = "  ".join(f"{name[:20]:>20}" for name in goal)
    return [f"{variant}: worst - best (PSS)", f"{titles}  distance", f"{_cells(goal)}{'':10}  as printed"]


def _cells(found: Goal) -> str:
    cells = [f"{low:.3f} - {high:.3f} ({low / high if high else 0:.3f})" for low, high in found.values()]
    return "  ".join(f"{cell:>20}" for cell in cells)


def _settings(settings: Settings) -> str:
    return ", ".join(f"{key} = {value}" for key, value in settings.items())
