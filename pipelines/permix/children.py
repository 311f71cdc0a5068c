"""What child processes of ours have to do with their parent: what they get of its environment, and that they end."""

import os
import re
import threading
import time
from collections.abc import Callable

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
