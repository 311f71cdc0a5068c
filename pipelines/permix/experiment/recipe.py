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

    `base` is "toy" (stage base makes it) or a Hub id `org/name[@revision]`. Of the `variants`, `org/model`,
    `org/model+org/adapter` and `model.<x>` (the server of [model.<x>]) are other models, measured beside the base.
    `tag` tells the experiment's artifacts from others' (pools and toy base are shared), `note` stands under results.
    `shares` are those of weak styles in what the toy base says without a persona; `permix phase` runs it for each.
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
        """The file with personas of one's own to measure under, "" where there is none."""
        return str(self.tables.get("personas", {}).get("eval", ""))

    @property
    def eval_personas_repo(self) -> str:
        """The dataset of the personas that sweeps measure under."""
        own = persona.label(self.eval_personas) if self.eval_personas else ""
        return f"datasets/{self.org}/permix-personas-{own}" if own else self.personas_repo

    def settings(self, stage: str) -> dict[str, Any]:
        """What the recipe sets of the stage's own Config fields."""
        return dict(self.tables.get(stage, {}))

    def model(self, name: str) -> Model:
        """The model called `name`, of which "toy" is the toy teacher; BadInput names the nearest."""
        if name == "toy":
            return Model(name=name, model=f"{self.org}/permix-toy-teacher")
        if name not in self.models:
            own = f"One of your own needs a table [model.{name}]."
            raise BadInput(f"There is no model {name!r}: {nearest(name, self.models)} {own}")
        return self.models[name]

    def runs(self) -> list[tuple[str, int]]:
        """Every (variant, seed) to measure; the base is not trained, so it has the first seed only."""
        return [
            (v, s) for v in self.variants for s in (self.seeds if variants.get(v).trainer != "none" else self.seeds[:1])
        ]
