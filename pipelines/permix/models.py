"""Models that teach, rewrite or judge: each by a name, run here from the Hub or reached through a server."""

from dataclasses import dataclass, field

from permix.errors import BadInput, nearest


@dataclass(frozen=True, kw_only=True)
class Model:
    """One row of a recipe's [model.<name>].

    `model` is a Hub id (run here, where `url` is "") or the server's name for it; `key` names the environment variable
    with the API key; prices are USD per million tokens. How it is reached does not change what it is: only `name`,
    `model` and `revision` are hashed.
    """

    name: str
    model: str
    revision: str = ""
    url: str = field(default="", metadata={"unhashed": True})
    key: str = field(default="", metadata={"unhashed": True})
    concurrency: int = field(default=64, metadata={"unhashed": True})
    price_in: float = field(default=0.0, metadata={"unhashed": True})
    price_out: float = field(default=0.0, metadata={"unhashed": True})


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


def builtin(name: str) -> Model:
    """The model called `name`; BadInput names the nearest."""
    if name not in BUILTIN:
        raise BadInput(
            f"There is no model {name!r}: {nearest(name, BUILTIN)} One of your own needs a table [model.{name}]."
        )
    return BUILTIN[name]
