"""The embedded Hubs of this test process; they end with it."""

import atexit
import os
from pathlib import Path

from embedded_hub import launch
from permix.publishing.hub import Hub


@atexit.register
def _stop() -> None:
    for server in launch._started:
        server.terminate()
        server.wait()


def embedded(cache: Path) -> Hub:
    """The Hub of all tests of this process, seen through a cache of one's own."""
    running = launch.attach(Path(os.environ["PERMIX_HOME"]) / "hub", port=0)
    return Hub(running.url, running.token, cache, embedded=True)


def hub_of(home: Path) -> Hub:
    """The Hub of a PERMIX_HOME, as a command with that home sees it."""
    running = launch.attach(home / "hub")
    return Hub(running.url, running.token, home / "hf" / "hub", embedded=True)
