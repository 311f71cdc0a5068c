"""The one server process of a data directory."""

import asyncio
import ctypes
import errno
import fcntl
import json
import logging
import os
import resource
import secrets
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import uvicorn

from embedded_hub import files
from embedded_hub.app import App, open_hub
from embedded_hub.compute.job_runner import Foreman, start_for
from embedded_hub.compute.space_runner import SpaceHost
from embedded_hub.context import Allowed, Hub, log
from embedded_hub.database.accounts import LOCAL_USER, Accounts, NameTaken
from embedded_hub.errors import BadOption, ServerError
from embedded_hub.events.deliver import Courier
from embedded_hub.launch import DEFAULT_PORT, open_lock

FORMAT = 1
"""Of the data directory; raised when an older version could no longer read it."""
COLLECT_AFTER = 600.0
"""Seconds from the start to the first removal of left-overs; the next follow daily."""
FREED_KEPT = 4 << 20
"""Bytes of freed memory that the process keeps for its next use."""
LINGER = float(os.environ.get("PERMIX_HUB_LINGER", "10"))
"""Seconds that a server started by `attach` outlives its last user."""


def run(
    root: Path,
    port: int | None,
    leased: bool = False,
    jobs: bool = False,
    at_once: int | None = None,
    webhook_hosts: Sequence[str] = (),
) -> None:
    """Serve `root` until a signal, or when `leased` until nobody has used it for `LINGER` seconds and no job runs.

    With `jobs` it runs Jobs, `at_once` at a time, and Spaces; `webhook_hosts` (`host`, `host:port`) may be called
    besides this machine. Prints its address unless `leased`. ServerError when another process serves `root`, when its
    format is unknown, or when `port` is taken.
    """
    root.mkdir(parents=True, exist_ok=True)
    _hold(root)
    check_format(root)
    logging.basicConfig(format="%(asctime)s %(message)s", level=logging.WARNING)
    _allow_many_files()
    _keep_freed_memory()
    instance, listening = secrets.token_hex(16), _listen(port)
    number = listening.getsockname()[1]
    allowed = Allowed(root, jobs, frozenset(one.lower() for one in webhook_hosts))
    hub = open_hub(root, instance, f"http://127.0.0.1:{number}", allowed)
    local_token(root, hub.accounts)
    workers = (Foreman(hub, at_once), Courier(hub, partial(start_for, hub)), SpaceHost(hub))
    try:
        state = {"pid": os.getpid(), "port": number, "instance": instance, "leased": leased}
        files.write_json(root / "server.json", state)
        if not leased:
            print(f"The embedded Hub of {root} listens on http://127.0.0.1:{number} (Ctrl-C ends it).", flush=True)
        threading.Thread(target=_collect_daily, args=(hub,), daemon=True).start()
        for one in workers:
            one.start()
        asyncio.run(_serve(App(hub), listening, root / "leases" if leased else None))
    finally:
        for one in workers:
            one.stop()
        (root / "server.json").unlink(missing_ok=True)
        hub.store.close()


def _collect_daily(hub: Hub) -> None:
    from embedded_hub.upkeep import garbage

    time.sleep(COLLECT_AFTER)
    while True:
        try:
            garbage.collect(hub)
        except Exception:
            log.exception("removing left-overs failed")
        time.sleep(garbage.AGE)


def _hold(root: Path) -> None:
    """Take the server's lock of `root` for the life of this process; ServerError when another server keeps it.

    One that only lingers after its last user is waited for.
    """
    descriptor = open_lock(root / "server.lock")
    started, told, found = time.monotonic(), False, dict[str, Any]()
    while True:
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        with suppress(OSError, ValueError):  # it may be just about to write it, or to leave, which takes a while, too
            found = json.loads((root / "server.json").read_text())
        leaves = not found or found["leased"]
        waited = time.monotonic() - started
        if waited > (LINGER + 10 if leaves else 0.4):  # who asks whether it is held holds it, too
            break
        if leaves and not told and waited > 0.4:
            print("Waiting for the embedded Hub that another command has used to end.", file=sys.stderr)
            told = True
        time.sleep(0.02)
    os.close(descriptor)
    where = f" on http://127.0.0.1:{found['port']}" if found else ""
    advice = (
        "another command uses it; open that address as long as it does, or start again when it has ended."
        if leaves
        else "open that address, or press Ctrl-C where it was started; `--root` gives another Hub."
    )
    raise ServerError(f"The embedded Hub of {root} runs already{where}: {advice}")


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """End in good order: uvicorn would raise the signal once more, and die before our own clean-up."""
        loop = asyncio.get_running_loop()
        for one in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(one, self.handle_exit, one, None)
        yield


async def _serve(app: App, listening: socket.socket, leases: Path | None) -> None:
    config = uvicorn.Config(
        app, http="h11", ws="none", lifespan="off", access_log=False, log_level="warning",
        timeout_keep_alive=60, timeout_graceful_shutdown=5, server_header=False,
        date_header=False,
    )  # fmt: skip
    server = _Server(config)
    watching = asyncio.create_task(_leave_when_unused(server, leases, app.hub)) if leases else None
    await server.serve([listening])
    if watching:
        watching.cancel()


async def _leave_when_unused(server: uvicorn.Server, leases: Path, hub: Hub) -> None:
    descriptor = open_lock(leases)
    unused_since: float | None = None
    while True:
        await asyncio.sleep(min(LINGER / 10, 1))
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            unused_since = None
            continue
        if hub.jobs.busy():
            fcntl.flock(descriptor, fcntl.LOCK_UN)
            unused_since = None
            continue
        unused_since = unused_since or time.monotonic()
        if time.monotonic() - unused_since >= LINGER:
            # The lock stays taken until this process ends: who attaches now waits for that, and starts anew.
            server.should_exit = True
            return
        fcntl.flock(descriptor, fcntl.LOCK_UN)


def local_token(root: Path, accounts: Accounts) -> str:
    """The local administrator's token, kept in the file `token` for processes of the same user."""
    path = root / "token"
    token = path.read_text().strip() if path.is_file() else ""
    if token and accounts.account(token):
        return token
    token = token or f"hf_{secrets.token_hex(24)}"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as out:
        out.write(token + "\n")
    try:
        accounts.new_token("local", LOCAL_USER, "admin", token)
    except NameTaken:  # the file was lost: the token that it held is worth nothing from now on
        accounts.revoke_token("local")
        accounts.new_token("local", LOCAL_USER, "admin", token)
    return token


def check_format(root: Path) -> None:
    """Write the data directory's format version, or ServerError when this version cannot read it."""
    path = root / "format"
    if not path.exists():
        files.write_bytes(path, f"{FORMAT}\n".encode())
    found = path.read_text().strip()
    if found != str(FORMAT):
        raise ServerError(
            f"The embedded Hub's data in {root} has format {found}, but {FORMAT} is read here: update permix."
        )


def _listen(port: int | None) -> socket.socket:
    wanted = DEFAULT_PORT if port is None else port
    for number in (wanted, 0) if port is None else (wanted,):
        # Named as TCP, or asyncio leaves Nagle's algorithm on and every answer takes 40 ms.
        listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind(("127.0.0.1", number))
            listening.listen(1024)
        except (OSError, OverflowError) as error:
            listening.close()
            taken = isinstance(error, OSError) and error.errno == errno.EADDRINUSE
            reason = "another program listens there" if taken else str(getattr(error, "strerror", error)).rstrip(".")
        else:
            listening.setblocking(False)
            return listening
    raise BadOption(f"The embedded Hub cannot listen on port {wanted}: {reason}. Choose another with --port.")


def _allow_many_files() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)  # the packs of all open repositories stay mapped
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(65536, hard) if hard > 0 else 65536, hard))


def _keep_freed_memory() -> None:
    """glibc would give every piece of an upload back to the system, and getting it again costs more than all else."""
    trim_threshold, mmap_threshold, arena_max = -1, -3, -8  # https://man7.org/linux/man-pages/man3/mallopt.3.html
    with suppress(AttributeError, OSError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(trim_threshold, FREED_KEPT)
        mallopt(mmap_threshold, 512 << 10)
        mallopt(arena_max, 2)  # or every thread keeps as much


def main() -> None:
    """`python -m embedded_hub --root DIR [--port N] [--leased]`."""
    import argparse

    parser = argparse.ArgumentParser(prog="python -m embedded_hub")
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--port", type=int)
    parser.add_argument("--leased", action="store_true")
    wanted = parser.parse_args()
    try:
        run(wanted.root.expanduser().absolute(), wanted.port, wanted.leased)
    except ServerError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
