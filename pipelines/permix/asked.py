"""What a command asks to be made: a recipe with changes, as a chain of steps, and where it is to be worked on."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from permix import stages
from permix.errors import BadInput
from permix.experiment.recipe import Recipe
from permix.pipeline import plan, recipes
from permix.pipeline.plan import Step
from permix.publishing.hub import Head, Hub


@dataclass(frozen=True)
class Terms:
    """How to work in Jobs of the Hub: hardware, when one is ended, USD that all may cost, whether to wait for them."""

    flavor: str
    timeout: str
    max_cost: float | None
    wait: bool
    fan_out: str


@dataclass(frozen=True)
class Asked:
    """The recipe's name or file and its changes; `until` is the last stage, None for the whole chain."""

    name: str
    overrides: tuple[str, ...]
    until: str | None = None
    fresh: tuple[str, ...] = ()
    workers: int = 0
    processes: int = 1

    def parts(self, fan_out: str) -> list["Asked"]:
        """One for each variant, or for each benchmark: then the sweep's name ends with that of the benchmark."""
        if fan_out == "none":
            return [self]
        found = recipes.load(self.name, self.overrides)
        changes = [[f"variants={json.dumps([name])}"] for name in found.variants]
        if fan_out == "benchmarks":
            label = str(found.settings("sweep").get("label", ""))
            labels = {source.name: "-".join(filter(None, [label, source.name])) for source in found.benchmarks}
            changes = [[f"benchmarks={json.dumps([n])}", f"sweep.label={of}"] for n, of in labels.items()]
        return [replace(self, overrides=(*self.overrides, *change)) for change in changes]


@dataclass
class Plan:
    """The steps of what was asked, and the heads of what they need from elsewhere."""

    asked: Asked
    recipe: Recipe
    steps: list[Step]
    foreign: Mapping[str, Head] = field(default_factory=dict)

    @classmethod
    def of(cls, asked: Asked) -> "Plan":
        """Before any Hub is asked; BadInput where the recipe or a stage is wrong."""
        found = recipes.load(asked.name, asked.overrides)
        steps = plan.until(plan.build(found), asked.until)
        if not steps:
            raise BadInput(
                f"The recipe {found.name} asks nothing of stage {asked.until}: choose other variants or another base."
            )
        for stage in asked.fresh:
            stages.get(stage)
        for step in steps:
            step.fresh = step.stage in asked.fresh
        return cls(asked, found, steps)

    def look(self, hub: Hub) -> None:
        """Ask the Hub which steps are current, and for what they need from elsewhere."""
        self.foreign = plan.resolve_foreign(self.steps, hub)
        plan.look_up(self.steps, hub)
        plan.settle_all(self.steps, self.foreign)

    @property
    def open(self) -> list[Step]:
        """The steps that are to be made."""
        return [step for step in self.steps if step.state != "current"]
