"""Start a program under a keeper (`supervisor`), and see whether that still lives."""

import fcntl
import json
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from embedded_hub import launch
from embedded_hub.context import Hub

HERE = Path(__file__).resolve().parent


def start(
    folder: Path,
    command: list[str],
    environment: dict[str, str],
    seconds: float | None = None,
    attempts: int = 1,
    notes: tuple[str, ...] = (),
    tied: bool = False,
) -> "subprocess.Popen[bytes]":
    """Run `command` in `folder/work`, and keep its log in `folder`; the keeper, which ends with it.

    It runs for at most `seconds`, and up to `attempts` times until it succeeds; `notes` begin its log. A `tied` one
    ends when this server does, however that ends.
    """
    (folder / "work").mkdir(parents=True, exist_ok=True)
    order: dict[str, Any] = {"command": command, "environment": environment, "seconds": seconds, "attempts": attempts}
    alive = launch.open_lock(folder / "alive")
    try:
        fcntl.flock(alive, fcntl.LOCK_EX)  # the keeper inherits it, and with it what it locks
        with (folder / "keeper.log").open("wb") as own_log:
            keeper = subprocess.Popen(
                [sys.executable, "-I", str(HERE / "supervisor.py"), str(folder)],
                stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=own_log,
                env={"PATH": os.defpath}, start_new_session=True, pass_fds=(alive,),
            )  # fmt: skip
    finally:
        os.close(alive)
    assert keeper.stdin
    with keeper.stdin as stdin, suppress(BrokenPipeError):
        stdin.write(json.dumps(order | {"notes": notes, "tied_to": os.getpid() if tied else None}).encode())
    return keeper


def alive(folder: Path) -> bool:
    """Whether the keeper of that folder lives, whoever started it."""
    return folder.is_dir() and launch.held(folder / "alive")


def end(folder: Path) -> None:
    """Ask the keeper of that folder to end what it keeps; that takes up to 5 s."""
    folder.mkdir(exist_ok=True)
    (folder / "cancel").touch()


def result(folder: Path) -> tuple[str, str | None]:
    """The stage in which a keeper that has ended left it, and why."""
    try:
        found = json.loads((folder / "result.json").read_text())
        return found["stage"], found["message"]
    except (OSError, ValueError, KeyError):
        return "ERROR", "It was killed from outside: its process ended without a result"


def base_environment(hub: Hub, folder: Path) -> dict[str, str]:
    """What every Job and Space finds: nothing of this server's own environment but where programs are."""
    for name in ("home", "tmp"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    clients = launch.client_environment(launch.Running(hub.url, "", hub.allowed.root), folder / "home")
    del clients["HF_TOKEN"]
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return clients | {
        "PATH": path, "PYTHONPATH": str(HERE.parents[1]), "PYTHONUNBUFFERED": "1", "LANG": "C.UTF-8",
        "HOME": str(folder / "home"), "TMPDIR": str(folder / "tmp"), "PERMIX_HOME": str(folder / "home" / "permix"),
        "ACCELERATOR": "none", "CPU_CORES": str(os.cpu_count() or 1), "MEMORY": f"{memory >> 30}Gi",
    }  # fmt: skip
