"""How many requests a server is asked at once, and how often one is asked again."""

import asyncio
import time
from dataclasses import dataclass
from random import SystemRandom

from permix.sampling.engines.endpoint.client import Fault

TRIES = 6
"""Of one request that fails, the first included; those of a server that says it is busy are `BUSY_TRIES`."""
BUSY_TRIES = 30
BACKOFF, LONGEST = 0.5, 30.0
"""Seconds before the second try; they double with each, up to the longest."""


class Pace:
    """Additive increase, multiplicative decrease, as TCP has it; a Retry-After holds everybody back."""

    def __init__(self, most: int) -> None:
        """Begin with `most` at once, which is never passed."""
        self.limit = float(most)
        self._most, self._active = most, 0
        self._resume = self._cut = 0.0
        self._free = asyncio.Condition()

    async def start(self) -> float:
        """Wait for a place; return the time at which it was got."""
        async with self._free:
            while self._active >= int(self.limit):
                await self._free.wait()
            self._active += 1
        while (left := self._resume - time.monotonic()) > 0:
            await asyncio.sleep(left)
        return time.monotonic()

    async def end(self, *, good: bool = False) -> None:
        """Give the place back; a good answer lets the limit grow by one for each round of it."""
        async with self._free:
            self._active -= 1
            if good:
                self.limit = min(self.limit + 1 / self.limit, self._most)
            self._free.notify(2)

    def too_many(self, started: float, wait: float) -> None:
        """Halve the limit, once for all requests that were under way together, and start nothing for `wait` seconds."""
        now = time.monotonic()
        self._resume = max(self._resume, now + wait)
        if started >= self._cut:
            self._cut = now
            self.limit = max(self.limit / 2, 1.0)


@dataclass
class Patience:
    """How often one request is tried again, and after which pause."""

    _failed: int = 0
    _busy: int = 0

    def pause(self, fault: Fault) -> float | None:
        """Seconds to wait before the next try; None when there were enough."""
        if fault.learned:
            return 0.0
        self._failed += not fault.busy
        self._busy += fault.busy
        if self._failed >= TRIES or self._busy >= BUSY_TRIES:
            return None
        growing = min(BACKOFF * 2.0 ** (self._failed + self._busy - 1), LONGEST)
        return fault.wait + growing * SystemRandom().uniform(0.5, 1.0)  # jitter: not all of them at once again
