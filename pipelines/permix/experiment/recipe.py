"""One experiment as data. `permix.pipeline.recipes` reads it from a TOML file."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from permix.benchmarks import Source
from permix.errors import BadInput, nearest
from permix.experiment import models
from permix.experiment.calibration import Calibration
from permix.experiment.models import Model
from permix.paper import variants
from permix.prompting import persona


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One experiment.

    `base` is "toy" (made by stage base) or a Hub id `org/name[@revision]`. Besides rows of the paper, `variants` may
    name other models: `org/model`, `org/model+org/adapter`, or `model.<x>` (the server of [model.<x>]). `tag` is part
    of the names of the experiment's artifacts, except pools and toy base; `note` stands under results. `shares` are
    shares of weak styles in the toy base's answers without a persona; `permix phase` runs the recipe for each.
    """

    name: str
    base: str = "toy"
    note: str = ""
    org: str = "permix"
    tag: str = ""
    seeds: tuple[int, ...] = (0,)
    shares: tuple[float, ...] = ()
    variants: tuple[str, ...] = ("base", "rlvr", "permix-rlvr")
    task: Source = field(default_factory=lambda: Source(name="arithmetic", split="train", instruction="plain"))
    benchmarks: tuple[Source, ...] = ()
    models: Mapping[str, Model] = field(default_factory=lambda: models.BUILTIN)
    tables: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    calibration: Calibration | None = None

    @property
    def base_repo(self) -> str:
        """The base model's repository, with `@revision` where the recipe names one."""
        return f"{self.org}/permix-toy-base" if self.base == "toy" else self.base

    @property
    def base_slug(self) -> str:
        """The base's own name, the first part of every artifact made from it."""
        return "permix-toy" if self.base == "toy" else self.base.split("@")[0].split("/")[1]

    @property
    def personas_repo(self) -> str:
        """The dataset that holds both pools."""
        dataset = self.tables.get("personas", {}).get("dataset")
        return f"datasets/{dataset}" if dataset else f"datasets/{self.org}/permix-personas"

    @property
    def eval_personas(self) -> str:
        """The file with the user's own personas to measure under, or ""."""
        return str(self.tables.get("personas", {}).get("eval", ""))

    @property
    def eval_personas_repo(self) -> str:
        """The dataset of the personas that sweeps measure under."""
        label = persona.label(self.eval_personas) if self.eval_personas else ""
        return f"datasets/{self.org}/permix-personas-{label}" if label else self.personas_repo

    def settings(self, stage: str) -> dict[str, Any]:
        """Return the recipe's values for the stage's own Config fields."""
        return dict(self.tables.get(stage, {}))

    def model(self, name: str) -> Model:
        """Return the model called `name` ("toy" is the toy teacher); BadInput names the nearest."""
        if name == "toy":
            return Model(name=name, model=f"{self.org}/permix-toy-teacher")
        if name not in self.models:
            advice = f"A model of your own needs a table [model.{name}]."
            raise BadInput(f"There is no model {name!r}: {nearest(name, self.models)} {advice}")
        return self.models[name]

    def runs(self) -> list[tuple[str, int]]:
        """Return every (variant, seed) to measure. An untrained variant has the first seed only."""
        seeds = {name: self.seeds if variants.get(name).trainer != "none" else self.seeds[:1] for name in self.variants}
        return [(name, seed) for name in self.variants for seed in seeds[name]]
