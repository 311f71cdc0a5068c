"""Wait for what another process does. Needs nothing of permix."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def wait_until(condition: Callable[[], T], *, every: float = 0.1, limit: float = 120) -> T:
    """Return the first outcome of `condition` that is true; look every `every` seconds, and fail after `limit`."""
    deadline = time.monotonic() + limit
    while not (outcome := condition()):
        assert time.monotonic() < deadline, f"not within {limit} s"
        time.sleep(every)
    return outcome
