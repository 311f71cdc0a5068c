"""Child Pythons of ours and their parent: how they start, what they get of its environment, and that they end."""

import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import IO

CALL = """
import sys
sys.path[:0] = [folder for folder in sys.argv[1:] if folder not in sys.path]
from {module} import {name}
{name}(*{arguments})
"""
LOOK = 0.5
"""Seconds between two looks at the parent."""
_SECRET = re.compile("(KEY|TOKEN|SECRET|PASSWORD)S?$", re.IGNORECASE)


def without_secrets() -> dict[str, str]:
    """This process's environment for a child: no variable whose name says that it holds a secret."""
    return {name: value for name, value in os.environ.items() if not _SECRET.search(name)}


def _exit() -> None:
    os._exit(1)


def end_with_parent(parent: int, end: Callable[[], None] = _exit) -> None:
    """From now on, beside all else: `end` this process as soon as the process `parent` is no longer its parent."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(LOOK)
        end()

    threading.Thread(target=watch, daemon=True).start()


def command(function: Callable[..., None], *arguments: int | str) -> list[str]:
    """The command line of a Python that calls a function of ours.

    Not `-m`: as __main__ a module's classes would not be those that the parent unpickles. It runs with -P: a random.py
    in the user's folder is not Python's; where permix lies is told instead.
    """
    code = CALL.format(module=function.__module__, name=function.__name__, arguments=arguments)
    return [sys.executable, "-P", "-c", code, str(Path(__file__).resolve().parents[1])]


def start(
    main: Callable[[int], None], environment: Mapping[str, str], out: int | IO[bytes], inherited: Sequence[int] = ()
) -> "tuple[subprocess.Popen[bytes], Connection]":
    """Start a child that calls `main` with the descriptor of its end of a pipe; return it with our end.

    What it prints goes to `out`; it inherits that, its end and the descriptors `inherited`, no other.
    """
    here, there = Pipe()
    with there:
        child = subprocess.Popen(
            command(main, there.fileno()),
            pass_fds=[there.fileno(), *inherited],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
        )
    return child, here


def attach(descriptor: int) -> Connection:
    """In such a child: its end of the pipe; it ends with its parent from now on."""
    os.set_inheritable(descriptor, False)  # or a child of its own would keep the pipe open after it died
    end_with_parent(os.getppid())
    return Connection(descriptor)
