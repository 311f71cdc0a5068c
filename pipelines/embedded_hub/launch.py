"""Find the embedded Hub of a data directory, or start it. This module does not import the server.

In the data directory, the server holds `server.lock` as long as it lives and writes its port into `server.json`. Every
process that uses it holds `leases` (shared), and a process that starts it holds `start.lock`.
"""

import fcntl
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from embedded_hub.errors import ServerError
from embedded_hub.files import without_secrets

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
    """A running embedded Hub. `token` is the local administrator's; `root` the data directory."""

    url: str
    token: str
    root: Path


def attach(root: Path, port: int | None = None) -> Running:
    """Return the running Hub of `root`; start it if needed. It runs as long as any attached process.

    `port` is for a Hub that must be started (0: any free port); by default 7862, or any if that is taken.
    ServerError if it does not answer within 20 s.
    """
    root = root.expanduser().absolute()
    root.mkdir(parents=True, exist_ok=True)
    if root not in _leases:
        _leases[root] = open_lock(root / "leases")
    fcntl.flock(_leases[root], fcntl.LOCK_SH)  # waits for a server that is about to end
    with locked(root / "start.lock"):
        while held(root / "server.lock"):
            if running := _wait(root, None):
                return running
        (root / "server.json").unlink(missing_ok=True)
        if running := _wait(root, _start(root, port)):
            return running
    raise _silent(root)


def allow_jobs(root: Path) -> None:
    """Let the Hub of `root` run Jobs and Spaces, at once and in future: code of anyone with write access."""
    root.expanduser().absolute().joinpath(JOBS_ALLOWED).touch(0o600)


def page_url(hub_url: str, repo: str) -> str:
    """Return the page of `repo` (`org/name`, `datasets/org/name`, with or without `@sha`) on the Hub at `hub_url`."""
    name, _, revision = repo.partition("@")
    return f"{hub_url.rstrip('/')}/{quote(name)}" + (f"/tree/{quote(revision, safe='')}" if revision else "")


def client_environment(running: Running, home: Path) -> dict[str, str]:
    """Return the variables that direct clients to this Hub, with its own caches; set them before they are imported."""
    caches = ("hub", "xet", "assets", "datasets", "modules", "evaluate", "metrics")
    off = (
        *("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "HF_EVALUATE_OFFLINE", "TRANSFORMERS_OFFLINE"),
        *("HF_HUB_DISABLE_IMPLICIT_TOKEN", "HF_UPDATE_DOWNLOAD_COUNTS"),
    )
    on = ("HF_HUB_DISABLE_TELEMETRY", "HF_HUB_DISABLE_UPDATE_CHECK", "HF_HUB_DISABLE_SYMLINKS_WARNING")
    return {
        **{"HF_ENDPOINT": running.url, "HF_TOKEN": running.token, "HF_HOME": str(home / "hf")},
        **{f"HF_{name.upper()}_CACHE": str(home / "hf" / name) for name in caches},
        **dict.fromkeys(off, "0"),
        **dict.fromkeys(on, "1"),
        **{"GRADIO_ANALYTICS_ENABLED": "False", "NO_PROXY": LOOPBACK, "no_proxy": LOOPBACK},
    }


def environment(running: Running, home: Path) -> dict[str, str]:
    """Return a child's environment: ours without other tokens, then `client_environment`; NO_PROXY is preserved."""
    inherited = {key: value for key, value in os.environ.items() if key not in DROPPED}
    hosts = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""
    direct = ",".join(dict.fromkeys([*LOOPBACK.split(","), *filter(None, hosts.split(","))]))
    return inherited | client_environment(running, home) | {"NO_PROXY": direct, "no_proxy": direct}


def enter(running: Running, home: Path) -> None:
    """Make this process a client of the Hub; call it before the first import of a Hub library."""
    variables = environment(running, home)
    os.environ.clear()
    os.environ.update(variables)


DROPPED = (
    *TOKEN_VARIABLES,
    "HUGGINGFACE_HUB_CACHE", "PYTORCH_TRANSFORMERS_CACHE", "PYTORCH_PRETRAINED_BERT_CACHE", "TRANSFORMERS_CACHE",
    "HUGGINGFACE_ASSETS_CACHE", "HF_STORED_TOKENS_PATH", "HF_INFERENCE_ENDPOINT", "HUGGINGFACE_CO_STAGING",
)  # fmt: skip
"""Inherited variables that would add a real token, a cache of another Hub, or another server."""


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Wait for the lock file `path` and hold it."""
    descriptor = open_lock(path)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def held(path: Path) -> bool:
    """Return whether a process holds the lock file `path`. The kernel frees it when that process dies."""
    descriptor = open_lock(path)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False


def open_lock(path: Path) -> int:
    """Return a descriptor of the lock file `path`; children inherit it only if it is passed explicitly."""
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _start(root: Path, port: int | None) -> "subprocess.Popen[bytes]":
    package = Path(__file__).resolve().parents[1]
    environment = {key: value for key, value in without_secrets().items() if key not in TOKEN_VARIABLES}
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
    """Return the server once it answers; None if it (the started `child`, else the one that ran) has ended."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if running := _answering(root):
            return running
        ended = child.poll() is not None if child else not held(root / "server.lock")
        if ended:
            return None
        time.sleep(0.01)
    raise _silent(root)


def _silent(root: Path) -> ServerError:
    try:
        lines = (root / "server.log").read_text(errors="replace").strip().split("\n")
    except OSError:
        lines = []
    reason = "".join(lines[-1:]).strip() or "its log is empty"
    return ServerError(f"The embedded Hub of {root} does not answer: {reason} (see server.log there).")


def _answering(root: Path) -> Running | None:
    import http.client

    try:
        state = json.loads((root / "server.json").read_text())
        with closing(http.client.HTTPConnection("127.0.0.1", state["port"], timeout=START_SECONDS)) as connection:
            connection.request("GET", "/api/permix-instance")
            answer = json.loads(connection.getresponse().read())
        token = (root / "token").read_text().strip()
    except (OSError, ValueError, KeyError, http.client.HTTPException):
        return None
    if answer.get("instance") != state.get("instance"):
        return None  # another server has the port now
    return Running(f"http://127.0.0.1:{state['port']}", token, root)
