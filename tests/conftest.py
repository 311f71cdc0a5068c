"""Fixtures of all tests: no network but loopback, and a home of its own for every test session."""

import os
import re
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from filelock import FileLock

from tests.support.command_line import permix
from tests.support.real import SHARED

if TYPE_CHECKING:
    from permix.publishing.hub import Hub

# A shell that starts the tests in the background makes them ignore Ctrl-C, and so every process that they start: then
# nothing that a test interrupts would end.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Before any Hub library is imported: nothing of the user's own is read or written.
os.environ["PERMIX_HOME"] = tempfile.mkdtemp(prefix="permix-test-")
os.environ["HF_HOME"] = os.environ["PERMIX_HOME"] + "/hf"
os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
os.environ["HF_UPDATE_DOWNLOAD_COUNTS"] = "0"
os.environ["HF_HUB_DISABLE_XET"] = "1"
os.environ["HF_ENDPOINT"] = "http://127.0.0.1:9"
for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "PYTHONDONTWRITEBYTECODE"):  # or every child compiles permix anew
    os.environ.pop(name, None)
sys.dont_write_bytecode = False

LONGEST = (
    "test_run.py", "test_ranks.py", "test_evaluate.py", "test_leaderboard.py", "test_readme.py", "test_kill.py",
    "test_battery.py", "test_command.py", "test_chat.py", "test_chat_page.py", "test_watch.py", "test_tables.py",
    "test_mirror.py", "test_jobs.py", "test_measuring.py", "test_arena.py", "test_publish.py", "test_sample.py",
)  # fmt: skip
"""The files that take longest begin. The first one runs the smoke recipe; the next two need nothing of it."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Order the files by LONGEST."""
    items.sort(key=lambda item: LONGEST.index(item.path.name) if item.path.name in LONGEST else len(LONGEST))


@pytest.fixture(autouse=True, scope="session")
def only_loopback() -> Iterator[None]:
    """Refuse to connect anywhere but to this machine."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: Any) -> None:
        if isinstance(address, tuple) and address[0] not in ("127.0.0.1", "::1", "localhost"):
            raise OSError(f"a test tried to reach {address[0]}")
        connect(self, address)

    socket.socket.connect = guarded  # type: ignore[method-assign, assignment]
    yield
    socket.socket.connect = connect  # type: ignore[method-assign]


@pytest.fixture
def shared() -> Path:
    """The folder of real benchmark files beside a developer's checkout; tests that read it skip without it."""
    if not (SHARED / "data").is_dir():
        pytest.skip("no ../shared/data beside this checkout")
    return SHARED


@pytest.fixture(scope="session")
def finished_smoke_run(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """A PERMIX_HOME in which `permix run --recipe smoke` ran to its end, once for all workers: only to be copied."""
    shared_by_workers = tmp_path_factory.getbasetemp()
    if worker_id != "master":
        shared_by_workers = shared_by_workers.parent
    finished = shared_by_workers / "smoke"
    with FileLock(shared_by_workers / "smoke.lock"):
        if not finished.is_dir():
            permix(shared_by_workers / "smoke-running", "run", "--recipe", "smoke", "--workers", "1")
            (shared_by_workers / "smoke-running").rename(finished)
    return finished


def copy_home(finished: Path, home: Path) -> Path:
    """Copy a PERMIX_HOME, without the files of the Hub that serves the original."""
    shutil.copytree(finished, home, ignore=shutil.ignore_patterns("*.lock", "server.json", "leases"))
    return home


@pytest.fixture(scope="session")
def smoke(finished_smoke_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A PERMIX_HOME with a finished smoke run, for all tests of a worker; a test leaves its artifacts as they are."""
    return copy_home(finished_smoke_run, tmp_path_factory.mktemp("smoke") / "home")


@pytest.fixture
def own_smoke(finished_smoke_run: Path, tmp_path: Path) -> Path:
    """A PERMIX_HOME with a finished smoke run for one test, which may change it."""
    return copy_home(finished_smoke_run, tmp_path / "home")


@pytest.fixture(scope="session")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A tiny base and a mixture, for real trainings; files that train nothing have inputs of their own."""
    from tests.support.trainings import make_inputs

    return make_inputs(tmp_path_factory.mktemp("training"))


@pytest.fixture
def hub(tmp_path: Path) -> "Hub":
    """The embedded Hub of all tests, seen through a cache of the test's own."""
    from tests.support.hubs import embedded

    return embedded(tmp_path / "cache")


@pytest.fixture
def org(request: pytest.FixtureRequest) -> str:
    """An organisation of the test's own on the Hub."""
    return re.sub("[^a-z0-9]+", "-", request.node.name.lower())[:60].strip("-")


@pytest.fixture
def hurry(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Let a test wait for no server before it tries again, and give it a home of its own."""
    from permix.sampling.engines.endpoint import pace

    monkeypatch.setattr(pace, "BACKOFF", 0.001)
    monkeypatch.setenv("PERMIX_HOME", str(tmp_path / "home"))
