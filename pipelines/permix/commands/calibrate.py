"""permix calibrate: search for the settings that the paper omits, by comparing with its printed rows."""

import contextlib
import sys

from permix.commands import options, run
from permix.errors import BadInput
from permix.experiment import calibration as calibrations
from permix.pipeline import designs, recipes
from permix.pipeline.plan import RunRequest
from permix.publishing import hub as hubs


def calibrate(
    recipe: options.Recipe = "calibrate",
    overrides: options.Set = [],  # noqa: B006 - typer reads the default, nobody changes it
    hub_url: options.HubUrl = None,
    workers: options.Workers = 0,
    work: options.Work = None,
    processes: options.Processes = 1,
) -> None:
    """Search for settings that the paper omits: the points of a recipe's grids nearest to the paper's rows.

    The grids are measured one after the other, each with the best point of the grids before. Interrupt it at any time;
    it resumes.
    """
    loaded = recipes.load(recipe, overrides)
    calibration = loaded.calibration
    if calibration is None:
        raise BadInput(f"The recipe {loaded.name} has no table [calibrate]: that of recipe calibrate shows one.")
    for changes in calibration.designs(loaded.tag):  # checks every key and value before the first measurement
        recipes.load(recipe, [*overrides, *changes])
    best = dict(calibration.start)
    for grid in calibration.grids:
        goal = calibration.goals[grid.variant]
        distances: list[tuple[float, calibrations.Settings]] = []
        print(f"{grid.variant}: worst - best (PSS)")
        print(f"{'  '.join(f'{name[:20]:>20}' for name in goal)}  distance\n{_cells(goal)}{'':10}  as printed")
        for point in grid.points:
            changes = [*overrides, *calibration.changes(grid.variant, {**best, **point}, loaded.tag)]
            request = RunRequest(recipe, tuple(changes), "sweep", workers=workers, processes=processes)
            with contextlib.redirect_stdout(sys.stderr):
                run.build(request, hub_url, work)
            measured = designs.accuracies(recipes.load(recipe, changes), list(goal), hubs.connect(hub_url))
            distances.append((calibrations.distance(goal, measured), point))
            print(f"{_cells(measured)}  {distances[-1][0]:8.4f}  {_settings(point)}", flush=True)
        best |= min(distances, key=lambda pair: pair[0])[1]
        print()
    print(f"Nearest to the printed rows: {_settings(best)}")


def _cells(accuracies: calibrations.Goal) -> str:
    cells = [f"{low:.3f} - {high:.3f} ({low / high if high else 0:.3f})" for low, high in accuracies.values()]
    return "  ".join(f"{cell:>20}" for cell in cells)


def _settings(settings: calibrations.Settings) -> str:
    return ", ".join(f"{key} = {value}" for key, value in settings.items())
