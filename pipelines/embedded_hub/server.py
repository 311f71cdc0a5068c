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
from embedded_hub.app import App
from embedded_hub.compute.job_runner import JobRunner, start_for
from embedded_hub.compute.space_runner import SpaceRunner
from embedded_hub.context import Allowed, ServerContext, log
from embedded_hub.database.accounts import LOCAL_USER, Accounts
from embedded_hub.errors import BadOption, ServerError
from embedded_hub.events.deliver import WebhookDeliverer
from embedded_hub.launch import DEFAULT_PORT, open_lock
from embedded_hub.upkeep import garbage

FORMAT = 1
"""Of the data directory; increased when an older version cannot read it."""
COLLECT_AFTER = 600.0
"""Seconds from the start to the first removal of unreferenced data; later ones follow daily."""
FREE_MEMORY = 4 << 20
"""Bytes of freed memory that the process keeps for reuse."""
LINGER = float(os.environ.get("PERMIX_HUB_LINGER", "10"))
"""Seconds that a server started by `attach` outlives its last user."""


def run(
    root: Path, port: int | None, leased: bool = False, jobs: bool = False, at_once: int | None = None,
    webhook_hosts: Sequence[str] = (),
) -> None:  # fmt: skip
    """Serve `root` until a signal, or if `leased` until nobody has used it for `LINGER` seconds and no Job runs.

    With `jobs` it runs Jobs, `at_once` at a time, and Spaces; webhooks may call `webhook_hosts` (`host`, `host:port`)
    besides this machine. Prints its address unless `leased`. ServerError if another process serves `root`, or if its
    format is unknown; BadOption if `root` cannot be a folder or the port cannot be used.
    """
    try:
        root.mkdir(parents=True, exist_ok=True)
        _lock(root)
        check_format(root)
    except OSError as error:
        raise BadOption(f"{root} cannot be a data directory: {error.strerror}. Choose another with --root.") from None
    logging.basicConfig(format="%(asctime)s %(message)s", level=logging.WARNING)
    _allow_many_files()
    _keep_freed_memory()
    instance, listener = secrets.token_hex(16), _listen(port)
    number = listener.getsockname()[1]
    allowed = Allowed(root, jobs, frozenset(host.lower() for host in webhook_hosts))
    context = ServerContext(root, instance, f"http://127.0.0.1:{number}", allowed)
    local_token(root, context.accounts)
    webhook_deliverer = WebhookDeliverer(context, partial(start_for, context))
    workers = (JobRunner(context, at_once), webhook_deliverer, SpaceRunner(context))
    try:
        state = {"pid": os.getpid(), "port": number, "instance": instance, "leased": leased}
        files.write_json(root / "server.json", state)
        if not leased:
            print(f"The embedded Hub of {root} listens on http://127.0.0.1:{number} (Ctrl-C ends it).", flush=True)
        threading.Thread(target=_collect_daily, args=(context,), daemon=True).start()
        for worker in workers:
            worker.start()
        asyncio.run(_serve(App(context), listener, root / "leases" if leased else None))
    finally:
        for worker in workers:
            worker.stop()
        (root / "server.json").unlink(missing_ok=True)
        context.repositories.close()


def _collect_daily(context: ServerContext) -> None:
    time.sleep(COLLECT_AFTER)
    while True:
        try:
            garbage.collect(context)
        except Exception:
            log.exception("removing unreferenced data failed")
        time.sleep(garbage.AGE)


def _lock(root: Path) -> None:
    """Lock `root` for this process's life, after waiting for a lingering server; ServerError if another holds it."""
    descriptor = open_lock(root / "server.lock")
    started, announced, state = time.monotonic(), False, dict[str, Any]()
    while True:
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        with suppress(OSError, ValueError):  # a starting server has not written it yet, an ending one has deleted it
            state = json.loads((root / "server.json").read_text())
        ending = not state or state["leased"]
        waited = time.monotonic() - started
        if waited > (LINGER + 10 if ending else 0.4):  # `launch.held` takes the lock for a moment, too
            break
        if ending and not announced and waited > 0.4:
            print("Waiting for the end of the embedded Hub that another command has used.", file=sys.stderr)
            announced = True
        time.sleep(0.02)
    os.close(descriptor)
    address = f" at http://127.0.0.1:{state['port']}" if state else ""
    advice = ": use that address, or press Ctrl-C where it was started. `--root` gives another Hub."
    if ending:
        advice = ", started by another command: use that address, or wait until the command ends."
    raise ServerError(f"The embedded Hub of {root} is already running{address}{advice}")


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """End in good order: uvicorn would raise the signal again and die before our own clean-up."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self.handle_exit, number, None)
        yield


async def _serve(app: App, listener: socket.socket, leases: Path | None) -> None:
    config = uvicorn.Config(
        app, http="h11", ws="none", lifespan="off", access_log=False, log_level="warning", server_header=False,
        date_header=False, timeout_keep_alive=60, timeout_graceful_shutdown=5,
    )  # fmt: skip
    server = _Server(config)
    watching = asyncio.create_task(_leave_when_unused(server, leases, app.context)) if leases else None
    await server.serve([listener])
    if watching:
        watching.cancel()


async def _leave_when_unused(server: uvicorn.Server, leases: Path, context: ServerContext) -> None:
    descriptor = open_lock(leases)
    unused_since: float | None = None
    while True:
        await asyncio.sleep(min(LINGER / 10, 1))
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            used = context.jobs.busy()
        except BlockingIOError:
            used = True
        unused_since = None if used else unused_since or time.monotonic()
        if unused_since and time.monotonic() - unused_since >= LINGER:
            # The lock stays held until this process ends: `attach` waits for that and starts a new server.
            server.should_exit = True
            return
        fcntl.flock(descriptor, fcntl.LOCK_UN)


def local_token(root: Path, accounts: Accounts) -> str:
    """Return the local administrator's token, stored in the file `token` for processes of the same user."""
    path = root / "token"
    token = path.read_text().strip() if path.is_file() else ""
    if token and accounts.account(token):
        return token
    token = token or f"hf_{secrets.token_hex(24)}"
    path.touch(0o600)
    path.write_text(f"{token}\n")
    accounts.revoke_token("local")  # if the file was lost
    accounts.new_token("local", LOCAL_USER, "admin", token)
    return token


def check_format(root: Path) -> None:
    """Write the data directory's format version; ServerError if this version cannot read an existing one."""
    path = root / "format"
    if not path.exists():
        files.write_bytes(path, f"{FORMAT}\n".encode())
    version = path.read_text().strip()
    if version != str(FORMAT):
        known = f"but this version reads {FORMAT}: update permix."
        raise ServerError(f"The embedded Hub's data in {root} has format {version}, {known}")


def _listen(port: int | None) -> socket.socket:
    first = DEFAULT_PORT if port is None else port
    for number in (first, 0) if port is None else (first,):
        # Named as TCP, or asyncio leaves Nagle's algorithm on and every answer takes 40 ms.
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", number))
            listener.listen(1024)
        except (OSError, OverflowError) as error:
            listener.close()
            taken = isinstance(error, OSError) and error.errno == errno.EADDRINUSE
            reason = "another program listens there" if taken else str(getattr(error, "strerror", error)).rstrip(".")
        else:
            listener.setblocking(False)
            return listener
    raise BadOption(f"The embedded Hub cannot listen on port {first}: {reason}. Choose another with --port.")


def _allow_many_files() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)  # the packs of all open repositories stay mapped
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(65536, hard) if hard > 0 else 65536, hard))


def _keep_freed_memory() -> None:
    """Stop glibc from returning every piece of an upload to the system: getting it back is the largest cost."""
    trim_threshold, mmap_threshold, arena_max = -1, -3, -8  # https://man7.org/linux/man-pages/man3/mallopt.3.html
    with suppress(AttributeError, OSError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(trim_threshold, FREE_MEMORY)
        mallopt(mmap_threshold, 512 << 10)
        mallopt(arena_max, 2)  # each arena keeps as much
