"""One embedded Hub for all tests of this folder, and clients of it."""

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import HfApi

from embedded_hub import launch
from tests.support.servers import accounts_of, stop
from tests.support.wire import PIPELINES, Wire

_numbers = count()


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    """A data directory of the test's own; its server ends with the test."""
    yield tmp_path / "hub"
    stop(tmp_path / "hub", signal.SIGKILL)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A PERMIX_HOME for the tests of a file; its server ends with them."""
    home = tmp_path_factory.mktemp("home")
    yield home
    stop(home / "hub", signal.SIGKILL)


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[launch.Running]:
    hub = launch.attach(tmp_path_factory.mktemp("hub"), port=0)
    yield hub
    stop(hub.root)


@pytest.fixture(scope="session")
def working(tmp_path_factory: pytest.TempPathFactory) -> Iterator[launch.Running]:
    """A Hub that runs Jobs and Spaces."""
    hub = launch.attach(tmp_path_factory.mktemp("working"), port=0)
    launch.allow_jobs(hub.root)
    yield hub
    stop(hub.root)


@pytest.fixture(scope="session")
def api(running: launch.Running) -> HfApi:
    """A client with the local administrator's token."""
    return HfApi(endpoint=running.url, token=running.token)


@pytest.fixture(scope="session")
def wire(running: launch.Running) -> Wire:
    return Wire.to(running)


@pytest.fixture(scope="session")
def anonymous(wire: Wire) -> Wire:
    return Wire(wire.port, None)


@pytest.fixture
def name() -> str:
    """The name of a repository that no other test uses."""
    return f"lab/r{next(_numbers)}"


@pytest.fixture
def repo(api: HfApi, name: str) -> str:
    """An empty model repository."""
    api.create_repo(name)
    return name


@pytest.fixture
def token_of(running: launch.Running) -> Iterator[Callable[..., str]]:
    """Create a token: `token_of("ann", "read", orgs=["lab"])`."""
    with accounts_of(running.root) as accounts:

        def new_token(user: str, role: Any, orgs: tuple[str, ...] = ()) -> str:
            token = accounts.new_token(f"t{next(_numbers)}", user, role)
            for org in orgs:
                accounts.add_member(org, user)
            return token

        yield new_token


@pytest.fixture
def child(running: launch.Running, tmp_path: Path) -> Callable[..., str]:
    """Run a program as a stock client with fresh caches and return its output."""

    def run(*command: str, home: Path = tmp_path / "home", xet: bool = False) -> str:
        environment = launch.environment(running, home)
        if xet:
            environment.pop("HF_HUB_DISABLE_XET", None)
        environment |= {"PYTHONPATH": str(PIPELINES), "OMP_NUM_THREADS": "1"}
        (tmp_path / "cwd").mkdir(exist_ok=True)
        program = [sys.executable, *command] if command[0].startswith("-") else list(command)
        cwd = tmp_path / "cwd"
        done = subprocess.run(program, env=environment, cwd=cwd, capture_output=True, text=True, timeout=200)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run
