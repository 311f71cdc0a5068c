"""Times as the Hub writes them."""

import time
from datetime import UTC, datetime


def written(when: float) -> str:
    """Seconds since 1970 as the Hub writes a time, to the millisecond."""
    return datetime.fromtimestamp(when, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def now() -> str:
    """This moment."""
    return written(time.time())
