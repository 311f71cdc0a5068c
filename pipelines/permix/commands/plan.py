"""permix plan: what a recipe needs, what of it is there, and what the rest, or all of it, would cost."""

import functools
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from permix.commands import options
from permix.errors import BadInput
from permix.experiment import phase
from permix.pipeline import plan as plans
from permix.pipeline import recipes
from permix.pipeline.plan import Step

if TYPE_CHECKING:
    from permix.pipeline.estimate.costs import Machine
    from permix.pipeline.estimate.estimate import Amount
    from permix.pipeline.estimate.shapes import Shape

COLUMNS = ("stage", "artifacts", "steps", "completions", "tokens sampled", "trained", "GB/device", "hours", "USD")


def plan(
    recipe: options.Recipe = "toy",
    overrides: options.Set = [],  # noqa: B006 - typer reads the default, nobody changes it
    hub_url: options.HubUrl = None,
    estimate: Annotated[
        bool, typer.Option("--estimate", help="Memory, steps, tokens, hours and price of the whole recipe; no Hub.")
    ] = False,
    gpu: Annotated[
        str | None, typer.Option("--gpu", metavar="KIND", help="Estimate for this one: a5000, a100, h100, t4, cpu, …")
    ] = None,
    gpus: Annotated[int, typer.Option("--gpus", min=1, help="How many of them.")] = 1,
    price_per_hour: Annotated[
        float, typer.Option("--price-per-hour", min=0, help="USD that one of them costs an hour.")
    ] = 0.0,
) -> None:
    """Show the chain: every artifact missing, stale or current, and the cost of what is to be made."""
    if estimate:
        from permix.pipeline.estimate import shapes
        from permix.pipeline.estimate.costs import machine

        _show_estimate(
            _every_step(recipe, overrides),
            machine(gpu, gpus),
            functools.partial(shapes.find, hub=hub_url),
            price_per_hour,
        )
        return

    if gpu or gpus > 1 or price_per_hour:
        raise BadInput("--gpu, --gpus and --price-per-hour are for the estimate: add --estimate.")

    from permix.publishing import hub as hubs

    steps, hub = plans.build(recipes.load(recipe, overrides)), hubs.connect(hub_url)
    plans.look_up(steps, hub)
    for note in plans.notes(steps):
        print(f"Note: {note}", file=sys.stderr)
    width = max(len(step.target) for step in steps)
    totals: dict[str, float] = {}
    for step in steps:
        cost = step.cost if step.state != "current" else {}
        for unit, amount in cost.items():
            totals[unit] = totals.get(unit, 0) + amount
        most = f"at most {_amounts(cost)}" if _amounts(cost) else ""
        print(f"{step.stage.name:10} {step.target:{width}}  {step.state:8} {most}".rstrip())
    open_steps = sum(step.state != "current" for step in steps)
    print(
        f"\n{len(steps) - open_steps} of {len(steps)} current on {hub.endpoint}"
        + (f"; the rest costs at most {_amounts(totals)}" if totals else "")
    )


def _every_step(recipe: str, changes: Sequence[str]) -> list[Step]:
    """The steps of a recipe; of one that `permix phase` or `permix calibrate` makes many times, those of every time."""
    loaded = recipes.load(recipe, changes)
    designs, last, note = [list[str]()], None, ""
    if loaded.shares and loaded.base == "toy":
        designs = [phase.overrides(loaded.org, share) for share in loaded.shares]
        note = f"permix phase makes it, for {len(designs)} shares of weak styles"
    elif loaded.calibration:
        designs, last = list(loaded.calibration.designs(loaded.tag)), "sweep"
        note = f"permix calibrate makes it, every point of its {len(loaded.calibration.grids)} grids"
    if note:
        print(f"Note: as {note}.", file=sys.stderr)
    designed = (recipes.load(recipe, [*changes, *design]) for design in designs)
    steps = {step.target: step for each in designed for step in plans.until(plans.build(each), last)}
    return list(steps.values())


def _amounts(cost: dict[str, float]) -> str:
    shown = {unit: _usd(amount) if unit == "USD" else f"{amount:,.0f}" for unit, amount in cost.items() if amount}
    return ", ".join(f"{amount} {unit}" for unit, amount in shown.items())


def _usd(amount: float) -> str:
    """Cents, and what is less than one as such: it is not for nothing."""
    return f"{amount:,.2f}" if amount >= 0.005 else "under 0.01"


def _show_estimate(steps: Sequence[Step], on: "Machine", shape_of: "Callable[[str], Shape]", price: float) -> None:
    """One line for each stage with work to do, the total, and what was assumed."""
    from permix.pipeline.estimate import costs, estimate

    found = estimate.amounts(steps, on, shape_of)
    by_stage: dict[str, list[Amount]] = {}
    for step, amount in zip(steps, found, strict=True):
        by_stage.setdefault(step.stage.name, []).append(amount)
    rows = [_cells(stage, each, on, price) for stage, each in by_stage.items()]
    rows.append(_cells("total", found, on, price))
    widths = [max(len(row[i]) for row in [COLUMNS, *rows]) for i in range(len(COLUMNS))]
    for first, *others in [COLUMNS, *rows]:
        print("  ".join([first.ljust(widths[0]), *map(str.rjust, others, widths[1:])]))
    device = f"{on.gpus} x {on.device.title}"
    print(f"\nAn estimate for {device}, everything made anew, one artifact after the other. Assumed:")
    for line in estimate.ASSUMPTIONS:
        print(f"- {line}")
    if any(amount.memory > on.device.memory * costs.GIB for amount in found):
        print(
            f"\n! marks more than the {on.device.memory:g} GB of one {on.device.title}: lower "
            "per_device_train_batch_size (and raise gradient_accumulation_steps), set load_in_4bit or "
            "gradient_checkpointing, lower batch_size, or raise tensor_parallel."
        )


def _cells(stage: str, each: "Sequence[Amount]", on: "Machine", price: float) -> tuple[str, ...]:
    from permix.pipeline.estimate.costs import GIB
    from permix.pipeline.estimate.estimate import Amount

    total = sum(each, Amount())
    hours = total.seconds / 3600
    usd = total.usd + hours * on.gpus * price
    too_much = "!" if total.memory > on.device.memory * GIB else ""
    steps = f"{total.steps:,}" if total.steps and stage != "total" else "–"
    memory = f"{too_much}{total.memory / GIB:.1f}" if total.memory else "–"
    counts = [f"{value:,.0f}" if value else "–" for value in (total.completions, total.sampled, total.trained)]
    return (
        stage,
        f"{len(each)}",
        steps,
        *counts,
        memory,
        f"{hours:,.1f}" if hours >= 0.05 else "–" if not hours else "<0.1",
        _usd(usd) if usd else "–",
    )
