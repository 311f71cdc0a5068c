"""Start a program under a supervisor process (`supervisor.py`), and check whether that is alive."""

import fcntl
import json
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from embedded_hub import launch
from embedded_hub.context import ServerContext

HERE = Path(__file__).resolve().parent


def start(
    folder: Path, command: list[str], environment: dict[str, str], seconds: float | None = None, attempts: int = 1,
    notes: tuple[str, ...] = (), tied: bool = False,
) -> "subprocess.Popen[bytes]":  # fmt: skip
    """Run `command` in `folder/work` with its log in `folder`; return its supervisor, which ends with it.

    It runs for at most `seconds`, and up to `attempts` times until it succeeds; `notes` begin its log. A `tied`
    program ends with this server, even if the server is killed.
    """
    (folder / "work").mkdir(parents=True, exist_ok=True)
    order: dict[str, Any] = {"command": command, "environment": environment, "seconds": seconds, "attempts": attempts}
    alive = launch.open_lock(folder / "alive")
    try:
        fcntl.flock(alive, fcntl.LOCK_EX)  # the supervisor inherits the descriptor and with it the lock
        with (folder / "supervisor.log").open("wb") as own_log:
            supervisor = subprocess.Popen(
                [sys.executable, "-I", str(HERE / "supervisor.py"), str(folder)],
                stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=own_log,
                env={"PATH": os.defpath}, start_new_session=True, pass_fds=(alive,),
            )  # fmt: skip
    finally:
        os.close(alive)
    assert supervisor.stdin
    with supervisor.stdin as stdin, suppress(BrokenPipeError):
        stdin.write(json.dumps(order | {"notes": notes, "tied_to": os.getpid() if tied else None}).encode())
    return supervisor


def alive(folder: Path) -> bool:
    """Return whether the supervisor of that folder is alive, even if an earlier server started it."""
    return folder.is_dir() and launch.held(folder / "alive")


def end(folder: Path) -> None:
    """Ask the supervisor of that folder to end its program; that takes up to 5 s."""
    folder.mkdir(exist_ok=True)
    (folder / "cancel").touch()


def result(folder: Path) -> tuple[str, str | None]:
    """Return the final stage that an ended supervisor recorded, and the reason."""
    try:
        ending = json.loads((folder / "result.json").read_text())
        return ending["stage"], ending["message"]
    except (OSError, ValueError, KeyError):
        return "ERROR", "It was killed from outside: its process ended without a result"


def base_environment(context: ServerContext, folder: Path) -> dict[str, str]:
    """Return the environment of every Job and Space: from this server's own environment it takes only PATH."""
    for name in ("home", "tmp"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    clients = launch.client_environment(launch.Running(context.url, "", context.allowed.root), folder / "home")
    del clients["HF_TOKEN"]
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return clients | {
        "PATH": path, "PYTHONPATH": str(HERE.parents[1]), "PYTHONUNBUFFERED": "1", "LANG": "C.UTF-8",
        "HOME": str(folder / "home"), "TMPDIR": str(folder / "tmp"), "PERMIX_HOME": str(folder / "home" / "permix"),
        "ACCELERATOR": "none", "CPU_CORES": str(os.cpu_count() or 1), "MEMORY": f"{memory >> 30}Gi",
    }  # fmt: skip
