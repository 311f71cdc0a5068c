"""Times as the Hub writes them."""

import time
from datetime import UTC, datetime


def written(when: float) -> str:
    """Return seconds since 1970 as the Hub writes a time, to the millisecond."""
    return datetime.fromtimestamp(when, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def now() -> str:
    """Return the current time as the Hub writes it."""
    return written(time.time())
