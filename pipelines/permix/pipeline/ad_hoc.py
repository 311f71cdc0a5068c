"""A sweep of any model as changes of a recipe, so that it is planned, run and published like every other sweep."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

from permix.errors import BadInput
from permix.paper import variants
from permix.prompting import persona

DEFAULT = "laptop"
"""The recipe for a model from outside our recipes: small, because the model may cost money."""


@dataclass(frozen=True, kw_only=True)
class Target:
    """The model and the personas that a sweep measures; "" for what the recipe sets.

    `adapter` belongs to `base`; `model` and `key` (an environment variable) belong to `endpoint`; `personas` is a file.
    """

    base: str = ""
    adapter: str = ""
    endpoint: str = ""
    model: str = ""
    key: str = ""
    personas: str = ""

    def recipe(self, name: str) -> str:
        """Return `name`, or the default recipe for this target."""
        return name or (DEFAULT if self.base or self.endpoint else "toy")

    def overrides(self, names: Sequence[str] = ()) -> list[str]:
        """Return the changes of the recipe; `names` are the variants to measure."""
        changes, measured = [], list(names)
        if self.endpoint:
            if self.base or self.adapter or names:
                raise BadInput("A server has its own models: give --model, without variants, --base and --adapter.")
            if not self.model:
                raise BadInput("--endpoint needs --model: the server's name for the model.")
            name = re.sub(r"[^\w.-]+", "-", self.model.rpartition("/")[2], flags=re.ASCII)
            server = {"model": self.model, "url": self.endpoint, "key": self.key}
            changes += [f'model."{name}".{field}={json.dumps(value)}' for field, value in server.items()]
            measured = [variants.SERVED + name]
        elif self.model or self.key:
            raise BadInput("--model and --key belong to --endpoint: give the server's address.")
        if self.adapter and not self.base:
            raise BadInput("--adapter needs --base: the model that it was trained on.")
        if self.base:
            changes.append(f"base={json.dumps(self.base)}")
            measured += [f"{self.base}+{self.adapter}"] if self.adapter else []
            measured = measured or ["base"]
        if self.personas:
            changes += [f"personas.eval={json.dumps(self.personas)}", f"sweep.label={persona.label(self.personas)}"]
        return changes + ([f"variants={json.dumps(measured)}"] if measured else [])
