"""The runs of one recipe with several designs: the shares of `permix phase`, the points of `permix calibrate`."""

from collections.abc import Sequence

from permix.experiment import phase
from permix.experiment.calibration import Goal
from permix.experiment.recipe import Recipe
from permix.pipeline import plan, published, recipes
from permix.publishing.hub import Hub


def every_step(name: str, overrides: Sequence[str]) -> tuple[list[plan.Step], str]:
    """Return the steps of all designs of a recipe, each once, and a note on the command that runs them."""
    loaded = recipes.load(name, overrides)
    designs, last, note = [list[str]()], None, ""
    if loaded.shares and loaded.base == "toy":
        designs = [phase.overrides(loaded.org, share) for share in loaded.shares]
        note = f"as permix phase makes it, for {len(designs)} shares of weak styles."
    elif loaded.calibration:
        designs, last = list(loaded.calibration.designs(loaded.tag)), "sweep"
        note = f"as permix calibrate makes it, every point of its {len(loaded.calibration.grids)} grids."
    designed = (recipes.load(name, [*overrides, *design]) for design in designs)
    steps = {step.target: step for recipe in designed for step in plan.until(plan.build(recipe), last)}
    return list(steps.values()), note


def accuracies(recipe: Recipe, benchmarks: Sequence[str], hub: Hub) -> Goal:
    """Return worst and best accuracy of the recipe's only variant, as means over its seeds, from its sweeps."""
    targets = [step.target for step in plan.build(recipe) if step.stage.name == "sweep"]
    records = [published.artifact(target, hub).record for target in targets]
    numbers = [record["facts"]["summary"]["benchmarks"] for record in records]

    def mean(name: str, end: str) -> float:
        return float(sum(of_seed[name]["pss"][end] for of_seed in numbers)) / len(numbers)

    return {name: (mean(name, "worst"), mean(name, "best")) for name in benchmarks}
