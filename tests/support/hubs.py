"""Hubs for tests: the embedded one, shared by all tests of a process, and servers that answer as they are told."""

import atexit
import functools
import os
from pathlib import Path

from embedded_hub import launch
from permix.publishing.hub import Hub


@functools.cache
def _running() -> launch.Running:
    running = launch.attach(Path(os.environ["PERMIX_HOME"]) / "hub", port=0)
    atexit.register(_stop)
    return running


def _stop() -> None:
    for server in launch._started:
        server.terminate()
        server.wait()


def embedded(cache: Path) -> Hub:
    """The embedded Hub of this test process, seen through a cache of one's own."""
    running = _running()
    return Hub(running.url, running.token, cache, embedded=True)
