"""permix compare: two variants or more on the same problems, personas and runs, paired."""

import math
from typing import Annotated

import typer

from permix.commands import options
from permix.errors import BadInput
from permix.pipeline import published


def compare(
    sweeps: Annotated[
        list[str], typer.Argument(metavar="SWEEP SWEEP...", help="The first is what the others are held against.")
    ],
    draws: Annotated[int, typer.Option(min=1, help="Bootstrap resamples and permutations.")] = 1000,
    hub_url: options.HubUrl = None,
) -> None:
    """Say how sweeps differ from the first in PSS, worst, best, mean and under the controls, with intervals.

    Both answer the same problems under the same personas, so differences are paired. The last column is the p-value
    corrected for all comparisons of a benchmark (Holm).
    """
    from permix.publishing import hub as hubs
    from permix.results.measures import pss, sweep_numbers
    from permix.stages.shared import sweep_rows

    if len(sweeps) < 2:
        raise BadInput("There is one sweep: name at least two to compare.")
    place = hubs.connect(hub_url)
    heads = [published.sweep(name, place) for name in sweeps]
    for number, head in enumerate(heads):
        if same := next((other for other in heads[:number] if other.content_digest == head.content_digest), None):
            other = "itself" if same.repo == head.repo else same.repo
            raise BadInput(f"{head.repo} holds the same answers as {other}: name sweeps that differ.")
    folders = [place.fetch(head) for head in heads]
    shared = [list(head.record["facts"]["summary"]["benchmarks"]) for head in heads if head.record]
    benchmarks = [name for name in shared[0] if all(name in others for others in shared)]
    if not benchmarks:
        raise BadInput("The sweeps have no benchmark in common: compare sweeps of one benchmark.")
    for name in benchmarks:
        first, *others = (sweep_rows.read(folder, name) for folder in folders)
        lines = [
            (head.repo, measure, values)
            for head, other in zip(heads[1:], others, strict=True)
            for measure, values in sweep_numbers.compare(first, other, draws=draws).items()
        ]
        corrected = pss.holm([math.nan if values["p_value"] is None else values["p_value"] for *_, values in lines])
        print(f"{name}: less {heads[0].repo}")
        print(f"  {'measure':16}{'difference':>11}{'95 % interval':>20}{'p':>8}{'p, Holm':>9}")
        for number, ((repo, measure, values), p) in enumerate(zip(lines, corrected, strict=True)):
            if number == 0 or repo != lines[number - 1][0]:
                print(repo)
            ends = "-" if values["low"] is None else f"{values['low']:+.3f} to {values['high']:+.3f}"
            shown = f"{_decimal(values['difference'], '+'):>11}{ends:>20}{_decimal(values['p_value']):>8}"
            print(f"  {measure:16}{shown}{_decimal(p):>9}")
    print("-: not defined: an interval where every resample gives the same, or PSS where nothing is right.")


def _decimal(value: float | None, sign: str = "") -> str:
    return "-" if value is None or math.isnan(value) else f"{value:{sign}.3f}"
