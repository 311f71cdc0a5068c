"""Start child Python processes without secrets in their environment, and end them with their parent."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import IO

from embedded_hub.files import without_secrets as without_secrets

CALL = """
import sys
sys.path[:0] = [folder for folder in sys.argv[1:] if folder not in sys.path]
from {module} import {name}
{name}(*{arguments})
"""
LOOK = 0.5
"""Seconds between two checks of the parent."""


def cores() -> int:
    """Return the number of processors that this process may use, which `taskset` and containers limit."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _exit() -> None:
    os._exit(1)


def end_with_parent(parent: int, end: Callable[[], None] = _exit) -> None:
    """Watch the parent from a thread and call `end` when the process `parent` is gone."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(LOOK)
        end()

    threading.Thread(target=watch, daemon=True).start()


def command(function: Callable[..., None], *arguments: int | str) -> list[str]:
    """Return the command line of a Python that calls a function of permix.

    Not `-m`: the classes of a module that runs as __main__ differ from those that the parent unpickles. With -P a
    random.py in the user's folder does not shadow Python's, so the folder of permix is an argument.
    """
    code = CALL.format(module=function.__module__, name=function.__name__, arguments=arguments)
    return [sys.executable, "-P", "-c", code, str(Path(__file__).resolve().parents[1])]


def start(
    main: Callable[[int], None], environment: Mapping[str, str], out: int | IO[bytes], inherited: Sequence[int] = ()
) -> "tuple[subprocess.Popen[bytes], Connection]":
    """Start a child that calls `main` with the descriptor of its end of a pipe; return the child and our end.

    Its output goes to `out`. It inherits only `out`, its end of the pipe and the descriptors `inherited`.
    """
    own_end, child_end = Pipe()
    with child_end:
        child = subprocess.Popen(
            command(main, child_end.fileno()),
            pass_fds=[child_end.fileno(), *inherited],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
        )
    return child, own_end


def attach(descriptor: int) -> Connection:
    """Return the child's end of the pipe, and end the child with its parent."""
    os.set_inheritable(descriptor, False)  # or a grandchild would keep the pipe open
    end_with_parent(os.getppid())
    return Connection(descriptor)
