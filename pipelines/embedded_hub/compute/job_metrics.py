"""CPU and memory use of a running Job, once a second (`fetch_job_metrics`). Linux only, without GPUs and network."""

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from pathlib import Path

from starlette.concurrency import run_in_threadpool
from starlette.responses import Response, StreamingResponse

from embedded_hub.errors import HubError

PROC = Path("/proc")
FIRST, EVERY = 0.2, 1.0
"""Seconds of the first measurement and of each later one."""


def metrics_stream(job: str, over: Callable[[], bool]) -> Response:
    """Stream measurements until `over`; 406 for an ended Job, 501 without /proc."""
    if not PROC.is_dir():
        raise HubError(501, "The embedded Hub measures Jobs on Linux only.")
    if over():
        raise HubError(406, "This job is over: only a running one has metrics.")
    return StreamingResponse(_measurements(job, over), media_type="text/event-stream")


async def _measurements(job: str, over: Callable[[], bool]) -> AsyncIterator[str]:
    cores, page = os.cpu_count() or 1, os.sysconf("SC_PAGE_SIZE")
    total = page * os.sysconf("SC_PHYS_PAGES")
    pause, (before, _), since = FIRST, await run_in_threadpool(_taken, job), time.monotonic()
    while not await run_in_threadpool(over):
        await asyncio.sleep(pause)
        (seconds, pages), at = await run_in_threadpool(_taken, job), time.monotonic()
        busy = max(0.0, seconds - before) / (at - since)  # a process that ended takes its seconds with it
        pause, before, since = EVERY, seconds, at
        sample = {
            "cpu_usage_pct": round(100 * busy / cores), "cpu_millicores": 1000 * cores,
            "memory_used_bytes": page * pages, "memory_total_bytes": total,
            "rx_bps": 0, "tx_bps": 0, "gpus": {}, "replica": job[:5],
        }  # fmt: skip
        yield f"data: {json.dumps(sample)}\n\n"


def _taken(job: str) -> tuple[float, int]:
    """Return the CPU seconds and the pages of memory of the Job's processes."""
    seconds, pages = 0.0, 0
    for folder in _processes(job):
        with suppress(OSError):  # it has just ended
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            seconds += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")  # utime and stime: proc(5)
            pages += int((folder / "statm").read_text().split()[1])
    return seconds, pages


def _processes(job: str) -> Iterator[Path]:
    """Yield the /proc folders of the processes with the Job's id in their environment."""
    mark = f"JOB_ID={job}".encode()
    for folder in PROC.glob("[0-9]*"):
        with suppress(OSError):
            if mark in (folder / "environ").read_bytes().split(b"\0"):
                yield folder
