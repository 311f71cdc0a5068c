"""Find the embedded Hub of a data directory, or start it. Light: nothing of the server is imported here.

In the data directory: `server.lock` is held by the one server as long as it lives, `server.json` says where it listens,
`leases` is held (shared) by every process that uses it, and `start.lock` by the one that is starting it.
"""

import fcntl
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from embedded_hub.errors import ServerError
from embedded_hub.files import environment_without_secrets

DEFAULT_PORT = 7862
START_SECONDS = 20.0
JOBS_ALLOWED = "jobs-allowed"
"""The file in a data directory that lets its server run Jobs and Spaces."""
LOOPBACK = "127.0.0.1,localhost"
TOKEN_VARIABLES = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_TOKEN_PATH")

_leases: dict[Path, int] = {}
_started: list["subprocess.Popen[bytes]"] = []


@dataclass(frozen=True)
class Running:
    """An embedded Hub that answers. `token` is the local administrator's; `root` the data directory."""

    url: str
    token: str
    root: Path


def attach(root: Path, port: int | None = None) -> Running:
    """The running Hub of `root`, started when there is none. It runs as long as any process that attached to it.

    `port` is where a Hub that must be started should listen (0: any); by default 7862, or any when that is taken.
    ServerError when it does not come up within 20 s.
    """
    root = root.expanduser().absolute()
    root.mkdir(parents=True, exist_ok=True)
    if root not in _leases:
        _leases[root] = open_lock(root / "leases")
    fcntl.flock(_leases[root], fcntl.LOCK_SH)  # waits for a server that is just about to leave
    with locked(root / "start.lock"):
        while held(root / "server.lock"):
            found = _wait(root, None)
            if found:
                return found
        (root / "server.json").unlink(missing_ok=True)
        found = _wait(root, _start(root, port))
        if found:
            return found
    raise _silent(root)


def allow_jobs(root: Path) -> None:
    """Let the Hub of `root` run Jobs and Spaces from now on, also while it runs: code of whoever may write to it."""
    root.expanduser().absolute().joinpath(JOBS_ALLOWED).touch(0o600)


def page_url(hub_url: str, repo: str) -> str:
    """Where a person finds `repo` (`org/name`, `datasets/org/name`, with or without `@sha`) on the Hub at `hub_url`."""
    name, _, revision = repo.partition("@")
    return f"{hub_url.rstrip('/')}/{quote(name)}" + (f"/tree/{quote(revision, safe='')}" if revision else "")


def client_environment(running: Running, home: Path) -> dict[str, str]:
    """What to set, before any Hub library is imported, so that unmodified clients talk to this Hub and to no other.

    Caches lie in `home/hf`: Hugging Face's own are not keyed by endpoint, so one repository name would mix two Hubs.
    """
    return {
        "HF_ENDPOINT": running.url,
        "HF_TOKEN": running.token,
        "HF_HOME": str(home / "hf"),
        "HF_HUB_CACHE": str(home / "hf" / "hub"),
        "HF_XET_CACHE": str(home / "hf" / "xet"),
        "HF_ASSETS_CACHE": str(home / "hf" / "assets"),
        "HF_DATASETS_CACHE": str(home / "hf" / "datasets"),
        "HF_MODULES_CACHE": str(home / "hf" / "modules"),
        "HF_EVALUATE_CACHE": str(home / "hf" / "evaluate"),
        "HF_METRICS_CACHE": str(home / "hf" / "metrics"),
        "HF_HUB_OFFLINE": "0",
        "HF_DATASETS_OFFLINE": "0",
        "HF_EVALUATE_OFFLINE": "0",
        "TRANSFORMERS_OFFLINE": "0",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_UPDATE_CHECK": "1",
        "HF_HUB_DISABLE_SYMLINKS_WARNING": "1",
        "HF_HUB_DISABLE_IMPLICIT_TOKEN": "0",
        "HF_UPDATE_DOWNLOAD_COUNTS": "0",
        "GRADIO_ANALYTICS_ENABLED": "False",
        "NO_PROXY": LOOPBACK,
        "no_proxy": LOOPBACK,
    }


def environment(running: Running, home: Path) -> dict[str, str]:
    """The whole environment for a child: ours, without any other token, with `client_environment` on top.

    Hosts that the user reaches without a proxy stay such.
    """
    kept = {key: value for key, value in os.environ.items() if key not in DROPPED}
    theirs = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""
    direct = ",".join(dict.fromkeys([*LOOPBACK.split(","), *filter(None, theirs.split(","))]))
    return kept | client_environment(running, home) | {"NO_PROXY": direct, "no_proxy": direct}


def enter(running: Running, home: Path) -> None:
    """Make this process a client of the Hub. To be called before the first import of a Hub library."""
    found = environment(running, home)
    os.environ.clear()
    os.environ.update(found)


DROPPED = (
    *TOKEN_VARIABLES,
    "HUGGINGFACE_HUB_CACHE", "PYTORCH_TRANSFORMERS_CACHE", "PYTORCH_PRETRAINED_BERT_CACHE", "TRANSFORMERS_CACHE",
    "HUGGINGFACE_ASSETS_CACHE", "HF_STORED_TOKENS_PATH", "HF_INFERENCE_ENDPOINT", "HUGGINGFACE_CO_STAGING",
)  # fmt: skip
"""Inherited variables that would bring in a real token, a cache of another Hub, or another server."""


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock file `path`, waiting for it."""
    descriptor = open_lock(path)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def held(path: Path) -> bool:
    """Whether some process holds the lock file `path`. The kernel frees it when that process dies, however it dies."""
    descriptor = open_lock(path)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False


def open_lock(path: Path) -> int:
    """A descriptor of the lock file `path`, which no child inherits unless it is passed on."""
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _start(root: Path, port: int | None) -> "subprocess.Popen[bytes]":
    package = Path(__file__).resolve().parents[1]
    environment = {key: value for key, value in environment_without_secrets().items() if key not in TOKEN_VARIABLES}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(package), os.environ.get("PYTHONPATH")]))
    command = [sys.executable, "-P", "-m", "embedded_hub", "--leased", "--root", str(root)]
    if port is not None:
        command += ["--port", str(port)]
    with (root / "server.log").open("wb") as log:
        child = subprocess.Popen(
            command, env=environment, cwd=root, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
    _started.append(child)  # or Python would warn that it still runs
    return child


def _wait(root: Path, child: "subprocess.Popen[bytes] | None") -> Running | None:
    """The server once it answers; None when it (the child that was started, or else the one that ran) has ended."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        found = _answering(root)
        if found:
            return found
        ended = child.poll() is not None if child else not held(root / "server.lock")
        if ended:
            return None
        time.sleep(0.01)
    raise _silent(root)


def _silent(root: Path) -> ServerError:
    reason = _last_line(root / "server.log") or "its log is empty"
    return ServerError(f"The embedded Hub of {root} does not answer: {reason} (see server.log there).")


def _answering(root: Path) -> Running | None:
    import http.client

    try:
        where = json.loads((root / "server.json").read_text())
        connection = http.client.HTTPConnection("127.0.0.1", where["port"], timeout=START_SECONDS)
        try:
            connection.request("GET", "/api/permix-instance")
            answer = json.loads(connection.getresponse().read())
        finally:
            connection.close()
        token = (root / "token").read_text().strip()
    except (OSError, ValueError, KeyError, http.client.HTTPException):
        return None
    if answer.get("instance") != where.get("instance"):
        return None  # the port belongs to somebody else by now
    return Running(f"http://127.0.0.1:{where['port']}", token, root)


def _last_line(path: Path) -> str:
    try:
        lines = path.read_text(errors="replace").split("\n")
    except OSError:
        return ""
    return next((line.strip() for line in reversed(lines) if line.strip()), "")
