"""How many requests a server gets at once, and how often one is retried."""

import asyncio
import time
from dataclasses import dataclass
from random import SystemRandom

from permix.sampling.engines.endpoint.client import Fault

TRIES = 6
"""Tries of a failing request, the first included; `BUSY_TRIES` while the server says that it is busy."""
BUSY_TRIES = 30
BACKOFF, LONGEST = 0.5, 30.0
"""Seconds before the second try; they double with each, up to the longest."""


class Pace:
    """Additive increase, multiplicative decrease, as in TCP; a Retry-After delays all requests."""

    def __init__(self, most: int) -> None:
        """Begin with `most` at once, the upper limit."""
        self.limit = float(most)
        self._most, self._active = most, 0
        self._resume = self._cut = 0.0
        self._free = asyncio.Condition()

    async def start(self) -> float:
        """Wait for a free slot; return the time at which it was taken."""
        async with self._free:
            while self._active >= int(self.limit):
                await self._free.wait()
            self._active += 1
        while (left := self._resume - time.monotonic()) > 0:
            await asyncio.sleep(left)
        return time.monotonic()

    async def end(self, *, good: bool = False) -> None:
        """Free the slot; as many good answers as the limit raise the limit by one."""
        async with self._free:
            self._active -= 1
            if good:
                self.limit = min(self.limit + 1 / self.limit, self._most)
            self._free.notify(2)

    def too_many(self, started: float, wait: float) -> None:
        """Halve the limit, once for all requests in flight together, and start nothing for `wait` seconds."""
        now = time.monotonic()
        self._resume = max(self._resume, now + wait)
        if started >= self._cut:
            self._cut = now
            self.limit = max(self.limit / 2, 1.0)


@dataclass
class Patience:
    """The retries of one request and the pauses between them."""

    _failed: int = 0
    _busy: int = 0

    def pause(self, fault: Fault) -> float | None:
        """Return the seconds to wait before the next try; None after the last."""
        if fault.learned:
            return 0.0
        self._failed += not fault.busy
        self._busy += fault.busy
        if self._failed >= TRIES or self._busy >= BUSY_TRIES:
            return None
        growing = min(BACKOFF * 2.0 ** (self._failed + self._busy - 1), LONGEST)
        return fault.wait + growing * SystemRandom().uniform(0.5, 1.0)  # jitter spreads the retries
