"""permix plan: what a recipe needs, what of it is there, and what the rest would cost."""

from permix import chain
from permix import recipe as recipes
from permix.commands import options


def plan(recipe: options.Recipe = "toy", set: options.Set = [], hub: options.Hub = None) -> None:  # noqa: B006
    """Show the chain: every artifact missing, stale or current, and the cost of what is to be made."""
    loaded = recipes.load(recipe, set)
    steps = chain.build(loaded)

    from permix import hub as hubs

    place = hubs.connect(hub)
    heads = chain.resolve_foreign(steps, place)
    chain.look_up(steps, place)
    chain.settle_all(steps, heads)
    width = max(len(step.target) for step in steps)
    totals: dict[str, float] = {}
    for step in steps:
        cost = step.cost if step.state != "current" else {}
        for unit, amount in cost.items():
            totals[unit] = totals.get(unit, 0) + amount
        most = f"at most {_amounts(cost)}" if _amounts(cost) else ""
        print(f"{step.stage:10} {step.target:{width}}  {step.state:8} {most}".rstrip())
    open_steps = sum(step.state != "current" for step in steps)
    print(
        f"\n{len(steps) - open_steps} of {len(steps)} current on {place.endpoint}"
        + (f"; the rest costs at most {_amounts(totals)}" if totals else "")
    )


def _amounts(cost: dict[str, float]) -> str:
    return ", ".join(f"{amount:,.0f} {unit}" for unit, amount in cost.items() if amount)
