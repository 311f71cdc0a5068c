"""A log that grows, as the server-sent events that clients follow."""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from starlette.concurrency import run_in_threadpool
from starlette.responses import Response, StreamingResponse

POLL, KEEP_ALIVE = 0.1, 15.0
"""Seconds between two looks at a log, and between two signs of life."""
CHUNK = 1 << 20


def event_stream(log: Path, over: Callable[[], bool], tail: int = -1) -> Response:
    """The lines of a log as server-sent events, as they come, until `over`."""
    return StreamingResponse(_events(log, over, tail), media_type="text/event-stream")


async def _events(log: Path, over: Callable[[], bool], tail: int) -> AsyncIterator[str]:
    at, quiet_since = 0, time.monotonic()
    if tail >= 0:
        last, at = await run_in_threadpool(_last_lines, log, tail)
        for line in last:
            yield f"data: {line}\n\n"
    while True:
        ended = await run_in_threadpool(over)  # before reading: what was printed until then is read now
        lines, at = await run_in_threadpool(_new_lines, log, at)
        for line in lines:
            yield f"data: {line}\n\n"
        if lines:
            quiet_since = time.monotonic()
            continue
        if ended:
            return
        if time.monotonic() - quiet_since > KEEP_ALIVE:
            quiet_since = time.monotonic()
            yield ": keep-alive\n\n"
        await asyncio.sleep(POLL)


def _new_lines(log: Path, at: int) -> tuple[list[str], int]:
    """The whole lines after `at`, at most about a mebibyte, and where they end."""
    try:
        with log.open("rb") as file:
            file.seek(at)
            found = file.read(CHUNK)
    except FileNotFoundError:
        return [], at
    whole = found[: found.rfind(b"\n") + 1]
    return whole.decode(errors="replace").splitlines(), at + len(whole)


def _last_lines(log: Path, count: int) -> tuple[list[str], int]:
    lines: deque[str] = deque(maxlen=count)
    at = 0
    while True:
        found, end = _new_lines(log, at)
        if not found:
            return list(lines), at
        lines.extend(found)
        at = end
