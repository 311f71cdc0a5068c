"""Stream a growing log as server-sent events."""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from starlette.concurrency import run_in_threadpool
from starlette.responses import Response, StreamingResponse

POLL, KEEP_ALIVE = 0.1, 15.0
"""Seconds between two reads of a log, and between two keep-alive comments."""
CHUNK = 1 << 20


def event_stream(log: Path, over: Callable[[], bool], tail: int = -1) -> Response:
    """Stream the lines of a log, as they are written, until `over`; with `tail` only the last lines."""
    return StreamingResponse(_events(log, over, tail), media_type="text/event-stream")


async def _events(log: Path, over: Callable[[], bool], tail: int) -> AsyncIterator[str]:
    at, quiet_since = 0, time.monotonic()
    if tail >= 0:
        last, at = await run_in_threadpool(_last_lines, log, tail)
        for line in last:
            yield f"data: {line}\n\n"
    while True:
        ended = await run_in_threadpool(over)  # before reading, so that the last lines are not missed
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
    """Return the whole lines after byte `at`, about a mebibyte at most, and the position of their end."""
    try:
        with log.open("rb") as file:
            file.seek(at)
            content = file.read(CHUNK)
    except FileNotFoundError:
        return [], at
    whole = content[: content.rfind(b"\n") + 1]
    return whole.decode(errors="replace").splitlines(), at + len(whole)


def _last_lines(log: Path, count: int) -> tuple[list[str], int]:
    lines: deque[str] = deque(maxlen=count)
    new, position = _new_lines(log, 0)
    while new:
        lines.extend(new)
        new, position = _new_lines(log, position)
    return list(lines), position
