"""permix power: how many problems and runs it takes to see a difference between two variants."""

import sys
from typing import Annotated

import typer

from permix.errors import BadInput


def power(
    problems: Annotated[
        list[int],
        typer.Option(help="Sizes of the benchmark; by default AIME 2024's, MATH-500's and GSM8K's among them."),
    ] = [30, 100, 500, 1319],  # noqa: B006 - typer reads the default, nobody changes it
    runs: Annotated[list[int], typer.Option(help="Repetitions of each condition.")] = [5],  # noqa: B006
    personas: Annotated[int, typer.Option(help="Personas in the pool.")] = 16,
    accuracy: Annotated[float, typer.Option(help="Mean accuracy of the first variant.")] = 0.5,
    spread: Annotated[float, typer.Option(help="Its best less its worst persona.")] = 0.15,
    difference: Annotated[float, typer.Option(help="How much the second variant lies higher.")] = 0.05,
    power: Annotated[float, typer.Option(help="How surely it should be seen.")] = 0.8,
    seed: Annotated[int, typer.Option(help="Of the simulation; the same seed gives the same table.")] = 0,
) -> None:
    """Say what sweeps of several sizes can show: noise floor, smallest visible difference, power for yours."""
    from permix.results.measures import power as simulation

    if not 0 < power < 1 or difference <= 0:
        raise BadInput(f"--power {power:g} should lie between 0 and 1, and --difference {difference:g} above 0.")
    sizes = [simulation.Size(n, r, personas) for n in problems for r in runs]
    first = simulation.levels(accuracy, spread, personas)
    print(
        f"Two variants, {personas} personas, mean accuracy {accuracy:g}, PSS of the first {first[0] / first[-1]:.3f}.\n"
        f"noise: PSS if personas had no effect; visible: the smallest difference seen with power .8;\n"
        f"power: how often a difference of {difference:g} is found (p <= .05).\n\n"
        f"{'':17}{'':8}{'visible':^24}{'power':^24}\n{'problems':>8}{'runs':>6}{'noise':>9}  "
        + "".join(f"{name:>8}" for name in simulation.MEASURES * 2)
    )
    enough: dict[str, str] = {}
    found: dict[str, float] = {}
    for size in sizes:
        print(f"simulating {size.problems} problems x {size.runs} runs", file=sys.stderr, flush=True)
        can = simulation.resolution(size, accuracy, spread, seed=seed)
        found = simulation.power(size, accuracy, spread, difference, seed=seed)
        visible = "".join(f"{getattr(can, name):8.3f}" for name in simulation.MEASURES)
        shares = "".join(f"{found[name]:8.2f}" if name in found else f"{'-':>8}" for name in simulation.MEASURES)
        print(f"{size.problems:8}{size.runs:6}{can.noise_floor:9.3f}  {visible}{shares}", flush=True)
        for name, share in found.items():
            if share >= power:
                enough.setdefault(name, f"{size.problems} problems x {size.runs} runs")
    print()
    for name in simulation.MEASURES:
        if name in found:
            print(f"{name}: {enough.get(name, 'none of these')} for power {power:g}")
        else:
            print(f"{name}: cannot rise by {difference:g} at the same mean with a spread of {spread:g}")
