"""Publish the two persona pools (paper, Appendix D, Tables 13-15).

In:  nothing; the pools come with permix (personas/*.json)
Out: data/train-00000-of-00001.parquet, data/eval-00000-of-00001.parquet: key, category, system_prompt
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import ClassVar

from permix import parquet
from permix.experiment.recipe import Recipe
from permix.prompting import persona
from permix.stage import Facts, Stage, StageConfig, StageContext, recipe_field


@dataclass(frozen=True, kw_only=True)
class Config(StageConfig):
    """The pools themselves are the configuration, so that an edited prompt makes everything after it stale."""

    TABLE: ClassVar[str] = "personas"

    train: tuple[persona.Persona, ...] = recipe_field()
    eval: tuple[persona.Persona, ...] = recipe_field()
    label: str = recipe_field("", unhashed=True)  # of a pool eval of one's own


def configs(recipe: Recipe) -> list[Config]:
    """One, unless the recipe brings a personas dataset of its own; another where it brings a file for the pool eval."""
    if recipe.settings("personas").get("dataset"):
        return []
    train, pools = persona.bundled("train"), {"": persona.bundled("eval")}
    if recipe.eval_personas:
        pools[persona.label(recipe.eval_personas)] = persona.from_file(Path(recipe.eval_personas))
    for pool in pools.values():
        persona.refuse_overlap(train, pool)
    return [Config(org=recipe.org, train=tuple(train), eval=tuple(pool), label=own) for own, pool in pools.items()]


def target(config: Config) -> str:
    """`datasets/org/permix-personas`, and the file's name where the pool eval is of one's own."""
    return f"datasets/{config.name('permix-personas' + (f'-{config.label}' if config.label else ''))}"


def inputs(config: Config) -> dict[str, str]:
    """None."""
    return {}


def run(config: Config, inputs: Mapping[str, Path], out: Path, *, context: StageContext) -> Facts:
    """Write both pools as parquet."""
    columns = dict.fromkeys(("key", "category", "system_prompt"), "string")
    for split, pool in (("train", config.train), ("eval", config.eval)):
        parquet.write([asdict(p) for p in pool], columns, out / "data" / f"{split}-00000-of-00001.parquet")
    return {"train": len(config.train), "eval": len(config.eval)}


STAGE = Stage(
    name="personas",
    card="personas",
    version=1,
    config=Config,
    configs=configs,
    target=target,
    inputs=inputs,
    run=run,
)
