"""What requests cost, and a budget that is never passed."""

import asyncio
import json

from permix.errors import PermixError
from permix.prompting.prompts import Messages
from permix.sampling.sampler import Endpoint, Request


def price(endpoint: Endpoint, tokens_in: int, tokens_out: int) -> float:
    """USD for so many tokens."""
    return (tokens_in * endpoint.price_in + tokens_out * endpoint.price_out) / 1e6


def most(endpoint: Endpoint, request: Request) -> float:
    """What one try can cost at most, in USD: a token is at least one byte of the prompt (and some for the template)."""
    return price(endpoint, _bytes(request.messages) + len(request.sampling.json_schema), request.sampling.max_tokens)


def _bytes(messages: Messages) -> int:
    return len(json.dumps(messages, ensure_ascii=False).encode()) + 64


class Budget:
    """USD spent, and USD that may be spent by what is in flight. Without a limit it only counts.

    A try that was sent and whose reply was lost counts with all that it can have cost, for it may have been billed.
    """

    def __init__(self, endpoint: Endpoint, spent: float) -> None:
        """Begin with what earlier calls of the same journal have spent."""
        self.spent = spent
        self._limit, self._held = endpoint.budget, 0.0
        self._changed = asyncio.Condition()

    async def hold(self, most: float) -> None:
        """Wait until `most` fits beside what is in flight; PermixError when it never will."""
        if not self._limit:
            return
        async with self._changed:
            while self.spent + self._held + most > self._limit:
                if not self._held:
                    raise PermixError(
                        f"The budget of {self._limit:g} USD is reached: {self.spent:.4f} USD are spent and the next "
                        f"request may cost {most:.4f}. What is finished is kept: raise the budget and run it again."
                    )
                await self._changed.wait()
            self._held += most

    async def settle(self, most: float, cost: float) -> None:
        """Book what a try has cost, and free what was held for it."""
        self.spent += cost
        if self._limit:
            async with self._changed:
                self._held = max(self._held - most, 0.0)
                self._changed.notify_all()
