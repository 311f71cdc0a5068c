"""Publish the two persona pools (paper, Appendix D, Tables 13-15).

In:  nothing; permix brings the pools (personas/*.json)
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
    """The pools are the configuration, so that an edited prompt makes everything that uses it stale."""

    TABLE: ClassVar[str] = "personas"

    train: tuple[persona.Persona, ...] = recipe_field()
    eval: tuple[persona.Persona, ...] = recipe_field()
    label: str = recipe_field("", unhashed=True)  # names the user's own pool eval


def configs(recipe: Recipe) -> list[Config]:
    """Return our pools, and those with the recipe's own pool eval; none if the recipe names a personas dataset."""
    if recipe.settings("personas").get("dataset"):
        return []
    train, pools = persona.bundled("train"), {"": persona.bundled("eval")}
    if recipe.eval_personas:
        pools[persona.label(recipe.eval_personas)] = persona.from_file(Path(recipe.eval_personas))
    for pool in pools.values():
        persona.refuse_overlap(train, pool)
    return [Config(org=recipe.org, train=tuple(train), eval=tuple(pool), label=label) for label, pool in pools.items()]


def target(config: Config) -> str:
    """Return `datasets/org/permix-personas`, with the label of the user's own pool eval."""
    return f"datasets/{config.name('permix-personas' + (f'-{config.label}' if config.label else ''))}"


def run(config: Config, inputs: Mapping[str, Path], out: Path, *, context: StageContext) -> Facts:
    """Write both pools as parquet."""
    columns = dict.fromkeys(("key", "category", "system_prompt"), "string")
    for split, pool in (("train", config.train), ("eval", config.eval)):
        parquet.write([asdict(p) for p in pool], columns, parquet.data_file(out, split=split))
    return {"train": len(config.train), "eval": len(config.eval)}


STAGE = Stage(
    name="personas",
    card="personas",
    version=1,
    config=Config,
    configs=configs,
    target=target,
    run=run,
)
