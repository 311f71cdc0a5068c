"""permix compare: two or more variants on the same problems, personas and runs, paired."""

import math
from typing import Annotated

import typer

from permix.commands import options
from permix.errors import BadInput
from permix.pipeline import published
from permix.publishing import hub as hubs
from permix.results.formatting import aligned, decimal, difference_interval


def compare(
    sweeps: Annotated[list[str], typer.Argument(metavar="SWEEP SWEEP...", help="Each is compared with the first.")],
    draws: Annotated[int, typer.Option(min=1, help="Bootstrap resamples and permutations.")] = 1000,
    hub_url: options.HubUrl = None,
) -> None:
    """Compare sweeps with the first one: PSS, worst, best, mean and controls, with intervals.

    All answer the same problems under the same personas, so the differences are paired. The last column is the p-value
    corrected for all comparisons of a benchmark (Holm).
    """
    from permix.results.measures import pss, sweep_numbers

    if len(sweeps) < 2:
        raise BadInput("There is one sweep: name at least two to compare.")
    hub = hubs.connect(hub_url)
    stored = [published.sweep(name, hub) for name in sweeps]
    for number, sweep in enumerate(stored):
        if same := next((other for other in stored[:number] if other.content_digest == sweep.content_digest), None):
            other = "itself" if same.repo == sweep.repo else same.repo
            raise BadInput(f"{sweep.repo} holds the same answers as {other}: name sweeps that differ.")
    tables = [published.rows(sweep, hub) for sweep in stored]
    benchmarks = [name for name in tables[0] if all(name in others for others in tables)]
    if not benchmarks:
        raise BadInput("The sweeps have no benchmark in common: compare sweeps of one benchmark.")
    for name in benchmarks:
        first, *others = (rows[name] for rows in tables)
        comparisons = [sweep_numbers.compare(first, other, draws=draws) for other in others]
        p_values = [values["p_value"] for measures in comparisons for values in measures.values()]
        corrected = iter(pss.holm([math.nan if p is None else p for p in p_values]))
        cells = [("  measure", "difference", "95 % interval", "p", "p, Holm")]
        for measure, values in (pair for measures in comparisons for pair in measures.items()):
            numbers = decimal(values["difference"], "+.3f"), difference_interval(values), decimal(values["p_value"])
            cells.append((f"  {measure}", *numbers, decimal(next(corrected))))
        titles, *lines = aligned(cells).splitlines()
        print(f"{name}: less {stored[0].repo}\n{titles}")
        for sweep, measures in zip(stored[1:], comparisons, strict=True):
            print("\n".join([sweep.repo, *lines[: len(measures)]]))
            del lines[: len(measures)]
    print("-: not defined: an interval where all resamples are equal, or PSS where no answer is right.")
