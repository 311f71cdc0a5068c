"""Models that teach, rewrite or judge: each by a name, run here from the Hub or reached through a server."""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from permix.errors import BadInput
from permix.sampling.sampler import Adapter, Completion, Endpoint, Engine, Sampler, packages_of
from permix.stage import Parts, StageConfig, unhashed

ENGINE = tuple(f.name for f in fields(Engine) if f.name not in ("base", "threads"))
"""Settings of an engine that a stage's Config may have, by the same names."""


@dataclass(frozen=True, kw_only=True)
class Model:
    """One row of a recipe's [model.<name>].

    `model` is a Hub id (run here, where `url` is "") or the server's name for it; `key` names the environment variable
    with the API key; prices are USD per million tokens. How it is reached does not change what it is: only `name`,
    `model` and `revision` are hashed and recorded.
    """

    name: str
    model: str
    revision: str = ""
    url: str = unhashed("")
    key: str = unhashed("")
    concurrency: int = unhashed(64)
    price_in: float = unhashed(0.0)
    price_out: float = unhashed(0.0)

    def __post_init__(self) -> None:
        """Refuse what no model could be reached by."""
        if not self.model:
            raise BadInput(f"[model.{self.name}] names no model: set model to a Hub id, or to a server's name for it.")
        if not self.url and len(self.model.split("/")) != 2:
            raise BadInput(
                f"[model.{self.name}] model is {self.model!r}: it should be a Hub id, org/name, or come with a url."
            )
        if self.url and not self.url.startswith(("http://", "https://")):
            raise BadInput(f"[model.{self.name}] url is {self.url!r}: it should begin with https:// or http://.")
        if self.concurrency < 1 or min(self.price_in, self.price_out) < 0:
            raise BadInput(f"[model.{self.name}] concurrency should be at least 1, and no price below 0.")

    @property
    def repo(self) -> str:
        """The repository of a model that is run here, with `@revision` where one is pinned; "" behind a server."""
        return "" if self.url else self.model + (f"@{self.revision}" if self.revision else "")

    def endpoint(self, budget: float = 0.0) -> Endpoint:
        """The server it is reached through, to spend at most `budget` USD at (0: no limit)."""
        return Endpoint(
            model=self.model,
            url=self.url,
            key=self.key,
            concurrency=self.concurrency,
            price_in=self.price_in,
            price_out=self.price_out,
            budget=budget,
        )

    def price(self, tokens_in: float, tokens_out: float) -> float:
        """USD for so many tokens."""
        return (tokens_in * self.price_in + tokens_out * self.price_out) / 1e6


OPENAI = "https://api.openai.com/v1"
DEEPSEEK = "https://api.deepseek.com/v1"

BUILTIN = {
    row.name: row
    for row in (
        Model(name="qwen3-32b", model="Qwen/Qwen3-32B"),
        Model(name="llama3.1-70b", model="meta-llama/Llama-3.1-70B-Instruct"),
        Model(name="gemma3-27b", model="google/gemma-3-27b-it"),
        Model(name="gpt-5-mini", model="gpt-5-mini", url=OPENAI, key="OPENAI_API_KEY"),
        Model(name="deepseek-v3.2", model="deepseek-chat", url=DEEPSEEK, key="DEEPSEEK_API_KEY"),
    )
}
"""The paper's teachers, rewriter and judges. Prices change, so recipes state them."""


def engine_settings(config: StageConfig) -> dict[str, Any]:
    """Those of ENGINE that `config` has."""
    return {name: getattr(config, name) for name in ENGINE if hasattr(config, name)}


def packages(config: Any) -> tuple[str, ...]:
    """What it takes to sample the `model` of a stage's Config, or on its own engine (a stage's NEEDS)."""
    return () if config.model else packages_of(config.backend)


def open_sampler(
    model: Model | None, base: Path | None, config: StageConfig, parts: Parts, budget: float = 0.0
) -> Sampler:
    """`model`, running: through its server, or (None, too) by an engine on the folder `base`, as `config` sets it.

    `budget` is what the server may cost in USD (0: no limit).
    """
    if model and model.url:
        return parts.sampler(model.endpoint(budget))
    assert base is not None
    return parts.sampler(Engine(base=base, threads=parts.threads, **engine_settings(config)))


def adapter(inputs: Mapping[str, Path], parts: Parts) -> Adapter | None:
    """The input `adapter` of a stage, where it has one."""
    return Adapter(inputs["adapter"], parts.digests["adapter"]) if "adapter" in inputs else None


def spent(model: Model | None, completions: Iterable[Completion]) -> dict[str, float]:
    """What completions cost, for the run record: their number, tokens, and USD where `model` has prices."""
    every = list(completions)
    read, written = sum(c.tokens_in for c in every), sum(c.tokens_out for c in every)
    usd = model.price(read, written) if model else 0.0
    found: dict[str, float] = {"completions": len(every), "tokens_in": read, "tokens_out": written}
    return found | ({"USD": round(usd, 6)} if usd else {})


def used_by(config: StageConfig) -> list[Model]:
    """The models that a stage's Config names, in fields of one or several."""
    values = [getattr(config, f.name) for f in fields(config)]
    several = [v if isinstance(v, tuple) else (v,) for v in values]
    return [model for found in several for model in found if isinstance(model, Model)]


def keys(config: StageConfig) -> dict[str, str]:
    """{variable: API key} of the servers that `config` needs; BadInput where the environment lacks one."""
    found = {}
    for model in used_by(config):
        if model.url and model.key:
            if not os.environ.get(model.key):
                raise BadInput(
                    f"The environment variable {model.key} is not set, and {model.name} at {model.url} asks for a key: "
                    f'set it, or set key = "" in [model.{model.name}] for a server without accounts.'
                )
            found[model.key] = os.environ[model.key]
    return found
