"""The cost of requests, and a budget that is never exceeded."""

import asyncio
import json

from permix.errors import PermixError
from permix.sampling.sampler import Endpoint, Request


def most(endpoint: Endpoint, request: Request) -> float:
    """Return the most that one try can cost, in USD: a token is at least one byte of the prompt or the template."""
    prompt_bytes = (
        len(json.dumps(request.messages, ensure_ascii=False).encode()) + 64 + len(request.sampling.json_schema)
    )
    return endpoint.price(prompt_bytes, request.sampling.max_tokens)


class Budget:
    """USD spent, and USD reserved for requests in flight. Without a limit it only counts.

    A try whose reply was lost counts with its highest cost, because it may have been billed.
    """

    def __init__(self, endpoint: Endpoint, spent: float) -> None:
        """Begin with the cost of earlier calls on the same journal."""
        self.spent = spent
        self._limit, self._held = endpoint.budget, 0.0
        self._changed = asyncio.Condition()

    async def hold(self, most: float) -> None:
        """Reserve `most`, waiting for requests in flight; PermixError when it can never fit."""
        if not self._limit:
            return
        async with self._changed:
            while self.spent + self._held + most > self._limit:
                if not self._held:
                    raise PermixError(
                        f"The budget of {self._limit:g} USD is reached: {self.spent:.4f} USD are spent and the next "
                        f"request may cost {most:.4f}. Finished completions are stored: raise the budget and run again."
                    )
                await self._changed.wait()
            self._held += most

    async def settle(self, most: float, cost: float) -> None:
        """Book the cost of a try, and free its reservation."""
        self.spent += cost
        if self._limit:
            async with self._changed:
                self._held = max(self._held - most, 0.0)
                self._changed.notify_all()
