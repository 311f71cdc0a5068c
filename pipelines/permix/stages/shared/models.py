"""Open the model of a stage's Config, and count what its completions cost."""

from collections.abc import Iterable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from permix.experiment.models import Model
from permix.sampling.sampler import Adapter, Completion, Engine, Sampler, packages_of
from permix.stage import StageConfig, StageContext

ENGINE = tuple(f.name for f in fields(Engine) if f.name not in ("base", "threads"))
"""Settings of an engine that a stage's Config may have, by the same names."""


def engine_settings(config: StageConfig) -> dict[str, Any]:
    """Return the settings of ENGINE that `config` has."""
    return {name: getattr(config, name) for name in ENGINE if hasattr(config, name)}


def group(config: Any) -> tuple[Any, ...]:
    """Return the base of a stage's Config and its engine: artifacts of one base share an open engine."""
    return config.base, config.model, *engine_settings(config).values()


def packages(config: Any) -> tuple[str, ...]:
    """Return the packages needed to sample the `model` of a stage's Config, or its own engine."""
    return () if config.model else packages_of(config.backend)


def open_sampler(
    model: Model | None, base: Path | None, config: StageConfig, context: StageContext, budget: float = 0.0
) -> Sampler:
    """Open `model` through its server, else folder `base` with the engine of `config`; `budget`: USD (0: no limit)."""
    if model and model.url:
        return context.sampler(model.endpoint(budget))
    if base is None:
        raise ValueError("A model that is not served needs the folder of its base.")
    return context.sampler(Engine(base=base, threads=context.threads, **engine_settings(config)))


def adapter(inputs: Mapping[str, Path], context: StageContext) -> Adapter | None:
    """Return the input `adapter` of a stage, None where it has none."""
    return Adapter(inputs["adapter"], context.digests["adapter"]) if "adapter" in inputs else None


def spent(model: Model | None, completions: Iterable[Completion]) -> dict[str, float]:
    """Return the number of completions and their tokens, for the run record; USD too where `model` has prices."""
    every = list(completions)
    tokens_in, tokens_out = sum(c.tokens_in for c in every), sum(c.tokens_out for c in every)
    usd = model.price(tokens_in, tokens_out) if model else 0.0
    counts: dict[str, float] = {"completions": len(every), "tokens_in": tokens_in, "tokens_out": tokens_out}
    return counts | ({"USD": round(usd, 6)} if usd else {})
