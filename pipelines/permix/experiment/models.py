"""Models that teach, rewrite or judge, by name: run here from the Hub, or reached through a server."""

import os
from dataclasses import dataclass, fields

from permix.errors import BadInput
from permix.run_record import Config, unhashed
from permix.sampling.sampler import Endpoint


@dataclass(frozen=True, kw_only=True)
class Model:
    """One row of a recipe's [model.<name>].

    `model` is a Hub id (run here, where `url` is "") or the server's name for it; `key` names the environment variable
    with the API key; prices are USD per million tokens. Only `name`, `model` and `revision` are hashed and recorded:
    the server does not change the model.
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
        if not self.model:
            raise BadInput(f"[model.{self.name}] names no model: set model to a Hub id, or to a server's name for it.")
        if not self.url and len(self.model.split("/")) != 2:
            raise BadInput(f"[model.{self.name}] model is {self.model!r}: it should be org/name, or come with a url.")
        if self.url and not self.url.startswith(("http://", "https://")):
            raise BadInput(f"[model.{self.name}] url is {self.url!r}: it should begin with https:// or http://.")
        if self.concurrency < 1 or min(self.price_in, self.price_out) < 0:
            raise BadInput(f"[model.{self.name}] concurrency should be at least 1, and no price below 0.")

    @property
    def repo(self) -> str:
        """The repository of a model run here, with `@revision` where pinned; "" for a served model."""
        return "" if self.url else self.model + (f"@{self.revision}" if self.revision else "")

    def endpoint(self, budget: float = 0.0) -> Endpoint:
        """Return the model's server, limited to `budget` USD (0: no limit)."""
        prices = {"price_in": self.price_in, "price_out": self.price_out, "budget": budget}
        return Endpoint(self.model, self.url, self.key, concurrency=self.concurrency, **prices)

    def price(self, tokens_in: float, tokens_out: float) -> float:
        """Return the price in USD of these tokens."""
        return self.endpoint().price(tokens_in, tokens_out)


OPENAI = "https://api.openai.com/v1"
DEEPSEEK = "https://api.deepseek.com/v1"

_ROWS = (
    Model(name="qwen3-32b", model="Qwen/Qwen3-32B"),
    Model(name="llama3.1-70b", model="meta-llama/Llama-3.1-70B-Instruct"),
    Model(name="gemma3-27b", model="google/gemma-3-27b-it"),
    Model(name="gpt-5-mini", model="gpt-5-mini", url=OPENAI, key="OPENAI_API_KEY"),
    Model(name="deepseek-v3.2", model="deepseek-chat", url=DEEPSEEK, key="DEEPSEEK_API_KEY"),
)
BUILTIN = {row.name: row for row in _ROWS}
"""The paper's teachers, rewriter and judges. Prices change, so recipes state them."""


def used_by(config: Config) -> list[Model]:
    """Return the models that a stage's Config names, in fields of one or several."""
    values = [getattr(config, f.name) for f in fields(config)]
    models = [model for value in values for model in (value if isinstance(value, tuple) else (value,))]
    return [model for model in models if isinstance(model, Model)]


def keys(config: Config) -> dict[str, str]:
    """Return {variable: API key} for the servers that `config` needs; BadInput where the environment lacks one."""
    api_keys = {}
    for model in used_by(config):
        if model.url and model.key:
            if not os.environ.get(model.key):
                raise BadInput(
                    f"The environment variable {model.key} is not set, and {model.name} at {model.url} asks for a key: "
                    f'set it, or set key = "" in [model.{model.name}] for a server without accounts.'
                )
            api_keys[model.key] = os.environ[model.key]
    return api_keys
