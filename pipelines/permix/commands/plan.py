"""permix plan: the artifacts of a recipe, which of them are current, and the cost of the others or of all."""

import functools
import sys
from collections.abc import Callable, Sequence
from typing import Annotated

import typer

from permix.commands import options
from permix.errors import BadInput
from permix.pipeline import designs, recipes
from permix.pipeline import plan as plans
from permix.pipeline.estimate import costs, estimate
from permix.pipeline.estimate.costs import GIB, Machine
from permix.pipeline.estimate.estimate import Amount
from permix.pipeline.estimate.shapes import Shape
from permix.pipeline.plan import Step
from permix.publishing import hub as hubs
from permix.results.formatting import aligned

COLUMNS = ("stage", "artifacts", "steps", "completions", "tokens sampled", "trained", "GB/device", "hours", "USD")


def plan(
    recipe: options.Recipe = "toy",
    overrides: options.Set = [],  # noqa: B006 - typer reads the default, nobody changes it
    hub_url: options.HubUrl = None,
    estimate: Annotated[bool, typer.Option("--estimate", help="Estimate memory, tokens, hours and price.")] = False,
    gpu: Annotated[str | None, typer.Option(metavar="KIND", help="Device: a5000, a100, h100, t4, cpu, …")] = None,
    gpus: Annotated[int, typer.Option("--gpus", min=1, help="Number of devices.")] = 1,
    price_per_hour: Annotated[float, typer.Option(min=0, help="Price of one device, in USD an hour.")] = 0.0,
) -> None:
    """Show the plan: every artifact as missing, stale or current, and the cost of those to build."""
    if estimate:
        from permix.pipeline.estimate import costs, shapes

        shape_of = functools.partial(shapes.find, hub=hub_url)
        machine = costs.machine(gpu, gpus)
        steps, note = designs.every_step(recipe, overrides)
        if note:
            print(f"Note: {note}", file=sys.stderr)
        _show_estimate(steps, machine, shape_of, price_per_hour)
        return
    if gpu or gpus > 1 or price_per_hour:
        raise BadInput("--gpu, --gpus and --price-per-hour are for the estimate: add --estimate.")
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
        bound = f"at most {_amounts(cost)}" if _amounts(cost) else ""
        print(f"{step.stage.name:10} {step.target:{width}}  {step.state:8} {bound}".rstrip())
    current = sum(step.state == "current" for step in steps)
    rest = f"; the rest costs at most {_amounts(totals)}" if totals else ""
    print(f"\n{current} of {len(steps)} current on {hub.endpoint}{rest}")


def _amounts(cost: dict[str, float]) -> str:
    texts = {unit: _usd(amount) if unit == "USD" else f"{amount:,.0f}" for unit, amount in cost.items() if amount}
    return ", ".join(f"{text} {unit}" for unit, text in texts.items())


def _usd(amount: float) -> str:
    """Return USD with cents; less than a cent is not shown as 0."""
    return f"{amount:,.2f}" if amount >= 0.005 else "under 0.01"


def _show_estimate(steps: Sequence[Step], machine: Machine, shape_of: Callable[[str], Shape], price: float) -> None:
    amounts = estimate.amounts(steps, machine, shape_of)
    by_stage: dict[str, list[Amount]] = {}
    for step, amount in zip(steps, amounts, strict=True):
        by_stage.setdefault(step.stage.name, []).append(amount)
    by_stage["total"] = amounts
    print(aligned([COLUMNS, *(_cells(stage, group, machine, price) for stage, group in by_stage.items())]))
    title = machine.device.title
    print(f"\nAn estimate for {machine.gpus} x {title}, everything built anew, one artifact after the other. Assumed:")
    for line in estimate.ASSUMPTIONS:
        print(f"- {line}")
    if any(amount.memory > machine.device.memory * costs.GIB for amount in amounts):
        print(
            f"\n! marks more than the {machine.device.memory:g} GB of one {title}: lower "
            "per_device_train_batch_size (and raise gradient_accumulation_steps), set load_in_4bit or "
            "gradient_checkpointing, lower batch_size, or raise tensor_parallel."
        )


def _cells(stage: str, amounts: Sequence[Amount], machine: Machine, price: float) -> tuple[str, ...]:
    total = sum(amounts, Amount())
    hours = total.seconds / 3600
    usd = total.usd + hours * machine.gpus * price
    mark = "!" if total.memory > machine.device.memory * GIB else ""
    return (
        stage,
        f"{len(amounts)}",
        f"{total.steps:,}" if total.steps and stage != "total" else "–",
        *(f"{value:,.0f}" if value else "–" for value in (total.completions, total.sampled, total.trained)),
        f"{mark}{total.memory / GIB:.1f}" if total.memory else "–",
        f"{hours:,.1f}" if hours >= 0.05 else "–" if not hours else "<0.1",
        _usd(usd) if usd else "–",
    )
