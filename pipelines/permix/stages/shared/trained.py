"""The Configs and inputs of the two stages that train an adapter."""

from typing import Any, TypeVar

from permix.experiment.recipe import Recipe
from permix.paper import variants
from permix.stages import mixtures
from permix.training.settings import TrainerConfig

TrainerConfigT = TypeVar("TrainerConfigT", bound=TrainerConfig)


def configs(config: type[TrainerConfigT], recipe: Recipe, **values: Any) -> list[TrainerConfigT]:
    """Return one `config` for each variant of its trainer and each seed; `values` are its fields from elsewhere."""
    sources = {(c.variant, c.seed): mixtures.target(c) for c in mixtures.configs(recipe)}
    values |= {"base": recipe.base_repo, "base_slug": recipe.base_slug}
    return [
        config.of(recipe, seed, variant=name, mixture=sources[name, seed], **values)
        for name, seed in recipe.runs()
        if variants.get(name).trainer == config.TABLE
    ]


def inputs(config: TrainerConfig) -> dict[str, str]:
    """Return the base and the mixture."""
    return {"base": config.base, "mixture": config.mixture}
