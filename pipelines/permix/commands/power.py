"""permix power: the number of problems and runs that shows a difference between two variants."""

import sys
from typing import Annotated

import typer

from permix.errors import BadInput
from permix.results.formatting import aligned


def power(
    problems: Annotated[
        list[int],
        typer.Option(help="Problems of the benchmark (30: AIME 2024, 500: MATH-500, 1319: GSM8K); repeatable."),
    ] = [30, 100, 500, 1319],  # noqa: B006 - typer reads the default, nobody changes it
    runs: Annotated[list[int], typer.Option(help="Repetitions of each condition; repeatable.")] = [5],  # noqa: B006
    personas: Annotated[int, typer.Option(help="Personas in the pool.")] = 16,
    accuracy: Annotated[float, typer.Option(help="Mean accuracy of the first variant.")] = 0.5,
    spread: Annotated[float, typer.Option(help="Its best less its worst persona.")] = 0.15,
    difference: Annotated[float, typer.Option(help="Gain of the second variant over the first.")] = 0.05,
    power: Annotated[float, typer.Option(help="Probability of finding the difference (0 to 1).")] = 0.8,
    seed: Annotated[int, typer.Option(help="Seed of the simulation.")] = 0,
) -> None:
    """Simulate which differences sweeps of several sizes can show: noise floor, smallest visible difference, power."""
    from permix.results.measures import power as simulation

    if not 0 < power < 1 or difference <= 0:
        raise BadInput(f"--power {power:g} should lie between 0 and 1, and --difference {difference:g} above 0.")
    sizes = [simulation.Size(n, r, personas) for n in problems for r in runs]
    first = simulation.levels(accuracy, spread, personas)
    print(
        f"Two variants, {personas} personas, mean accuracy {accuracy:g}, PSS of the first {first[0] / first[-1]:.3f}.\n"
        "noise: PSS if personas had no effect; visible: the smallest difference found with power .8;\n"
        f"power: how often a difference of {difference:g} is found (p <= .05).\n"
    )
    titles = [f"{kind} {name}" for kind in ("visible", "power") for name in simulation.MEASURES]
    table = [["problems", "runs", "noise", *titles]]
    enough: dict[str, str] = {}
    powers: dict[str, float] = {}
    for size in sizes:
        print(f"simulating {size.problems} problems x {size.runs} runs", file=sys.stderr, flush=True)
        resolution = simulation.resolution(size, accuracy, spread, seed=seed)
        powers = simulation.power(size, accuracy, spread, difference, seed=seed)
        visible = [f"{getattr(resolution, name):.3f}" for name in simulation.MEASURES]
        shares = [f"{powers[name]:.2f}" if name in powers else "-" for name in simulation.MEASURES]
        table.append([f"{size.problems}", f"{size.runs}", f"{resolution.noise_floor:.3f}", *visible, *shares])
        for name, share in powers.items():
            if share >= power:
                enough.setdefault(name, f"{size.problems} problems x {size.runs} runs")
    print(aligned(table, left=()), end="\n\n")
    for name in simulation.MEASURES:
        if name in powers:
            print(f"{name}: {enough.get(name, 'none of these')} for power {power:g}")
        else:
            print(f"{name}: cannot rise by {difference:g} at the same mean with a spread of {spread:g}")
