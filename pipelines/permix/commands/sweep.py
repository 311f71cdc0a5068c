"""permix sweep: what it has beyond the options of its stage, for any model and for personas in a file.

All of it is said as changes of a recipe, so that such a sweep is planned, made and published as every other one.
"""

import json
import re
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from permix.errors import BadInput
from permix.paper import variants as variant
from permix.prompting import persona

OPTIONS: list[tuple[str, Any, Any]] = [
    ("base", Annotated[str, typer.Option(metavar="ORG/MODEL", help="A base of the Hub, instead of the recipe's.")], ""),
    ("adapter", Annotated[str, typer.Option(metavar="ORG/NAME", help="An adapter of --base.")], ""),
    ("endpoint", Annotated[str, typer.Option(metavar="URL", help="A server that speaks the OpenAI API.")], ""),
    ("model", Annotated[str, typer.Option(metavar="NAME", help="The server's name for its model.")], ""),
    ("key", Annotated[str, typer.Option(metavar="ENV", help="The environment variable with the server's key.")], ""),
    (
        "personas",
        Annotated[str, typer.Option(metavar="FILE", help="Personas of your own (.json, .toml) to measure under.")],
        "",
    ),
]
DEFAULT = "laptop"
"""The recipe whose settings and benchmark a model beside our recipes is measured with: small, for it may cost money."""


def recipe(given: str, base: str, endpoint: str, **_: str) -> str:
    """The recipe's name where none was given."""
    return given or (DEFAULT if base or endpoint else "toy")


def changes(
    variants: Sequence[str], *, base: str, adapter: str, endpoint: str, model: str, key: str, personas: str
) -> list[str]:
    """The options as `key=value` for the recipe."""
    found, names = [], list(variants)
    if endpoint:
        if base or adapter or names:
            raise BadInput("A server has its own models: name one by --model, without variants, --base and --adapter.")
        if not model:
            raise BadInput("--endpoint needs --model: the server's name for the model.")
        name = re.sub(r"[^\w.-]+", "-", model.rpartition("/")[2], flags=re.ASCII)
        server = {"model": model, "url": endpoint, "key": key}
        found += [f'model."{name}".{what}={json.dumps(value)}' for what, value in server.items()]
        names = [variant.SERVED + name]
    elif model or key:
        raise BadInput("--model and --key belong to --endpoint: give the server's address.")
    if adapter and not base:
        raise BadInput("--adapter needs --base: the model that it was trained on.")
    if base:
        found.append(f"base={json.dumps(base)}")
        names += [f"{base}+{adapter}"] if adapter else []
        names = names or ["base"]
    if personas:
        found += [f"personas.eval={json.dumps(personas)}", f"sweep.label={persona.label(personas)}"]
    return found + ([f"variants={json.dumps(names)}"] if names else [])
