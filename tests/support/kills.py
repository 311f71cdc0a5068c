"""Kill `permix run` at given moments and start it again, compare what it published; kill Jobs."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from permix.pipeline import plan, recipes
from tests.support.command_line import environment_of
from tests.support.hubs import hub_of

TARGETS = [step.target for step in plan.build(recipes.load("smoke"))]


def contents(home: Path) -> dict[str, str]:
    """{target: content digest}, computed from the published files themselves."""
    hub = hub_of(home)
    heads = {target: hub.state(target) for target in TARGETS}
    for head in heads.values():
        if head is not None and head.record is not None:
            hub.fetch(head)  # raises where files and record disagree
    return {target: head.content_digest for target, head in heads.items() if head is not None}


def start_run(home: Path) -> "subprocess.Popen[bytes]":
    """Start the smoke run; its messages are written to `stderr` in `home`."""
    command = [sys.executable, "-m", "permix", "run", "--recipe", "smoke"]
    with (home / "stderr").open("wb") as stderr:
        return subprocess.Popen(command, env=environment_of(home), cwd=home, stdout=subprocess.DEVNULL, stderr=stderr)


def kill_run_after(home: Path, seconds: float) -> bool:
    """Start the smoke run and kill it after so many seconds; return whether it was still running."""
    run = start_run(home)
    try:
        run.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        run.kill()
    ended = run.wait()
    refuse_half_published(home)
    return ended == -signal.SIGKILL


def kill_run_when(home: Path, condition: Callable[[], object]) -> None:
    """Start the smoke run and kill it as soon as the condition holds."""
    run = start_run(home)
    while not condition():
        assert run.poll() is None, (home / "stderr").read_text()
        time.sleep(0.01)
    run.kill()
    run.wait()


def refuse_half_published(home: Path) -> None:
    """Every repository holds either nothing yet or just what its record describes."""
    hub = hub_of(home)
    for target in TARGETS:
        head = hub.state(target)
        if head is not None:
            assert head.intact if head.record else set(head.files) <= {".gitattributes"}, f"{target} is half published"


def kill_job(job: str) -> None:
    """Kill the supervisor of a Job that runs on an embedded Hub, and the Job with it."""
    deadline = time.monotonic() + 20  # a Job counts as running just before its supervisor starts
    while time.monotonic() < deadline:
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            with suppress(OSError, ValueError):
                *_, program, folder, _ = path.read_bytes().decode().split("\0")
                if program.endswith("supervisor.py") and folder.endswith(job):
                    os.kill(int(path.parent.name), signal.SIGKILL)
                    return
    raise AssertionError(f"no supervisor of Job {job} is running")
