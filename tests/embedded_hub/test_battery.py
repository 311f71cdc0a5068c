"""Every operation of `battery` against the embedded Hub, or against the one that PERMIX_TEST_HUB names.

For a real Hub set PERMIX_TEST_HUB (its address), PERMIX_TEST_ORG (where to write) and PERMIX_TEST_TOKEN.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from embedded_hub import launch
from tests.support import battery
from tests.support.servers import accounts_of

Results = dict[str, str]
REAL = os.environ.get("PERMIX_TEST_HUB")
SECONDS = 3600 if REAL else 250
pytestmark = pytest.mark.timeout(SECONDS + 30)


@pytest.fixture(scope="session")
def target(running: launch.Running) -> tuple[dict[str, str], str]:
    """The environment of a client of the Hub under test, and the namespace to which it may write."""
    if REAL:
        hub = launch.Running(REAL.rstrip("/"), os.environ["PERMIX_TEST_TOKEN"], running.root)
        return launch.environment(hub, Path("/nowhere")), os.environ["PERMIX_TEST_ORG"]
    with accounts_of(running.root) as accounts:
        token = accounts.new_token("battery", "tester", "write")
        accounts.add_member("battery", "tester")
    return launch.environment(launch.Running(running.url, token, running.root), Path("/nowhere")), "battery"


@pytest.fixture(scope="session")
def results(
    target: tuple[dict[str, str], str], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], dict[str, str]]:
    """Operation -> its error, empty on success; one process with fresh caches with Xet, one without."""
    known: dict[str, Results] = {}

    def of(xet: str) -> Results:
        if xet not in known:
            home, (environment, namespace) = str(tmp_path_factory.mktemp("home")), target
            moved = {key: value.replace("/nowhere", home) for key, value in environment.items()}
            moved |= {"HF_HUB_DISABLE_XET": "0" if xet == "xet" else "1", "OMP_NUM_THREADS": "1", "HOME": home}
            moved.pop("PYTHONPATH", None)
            done = subprocess.run(
                [sys.executable, battery.__file__, namespace], env=moved, cwd=home, capture_output=True, text=True,
                timeout=SECONDS,
            )  # fmt: skip
            lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"operation"')]
            known[xet] = {line["operation"]: line["error"] for line in lines} | {"": done.stderr[-3000:]}
        return known[xet]

    return of


@pytest.mark.parametrize("xet", ["xet", "lfs"])
@pytest.mark.parametrize("operation", [operation.__name__ for operation in battery.OPERATIONS])
def test_the_hub_does(results: Callable[[str], Results], xet: str, operation: str) -> None:
    failures = results(xet)
    assert operation in failures, f"the battery ended before it: {failures['']}"
    assert not failures[operation], failures[operation]


@pytest.mark.skipif(bool(REAL), reason="only the embedded Hub's data directory can be looked into")
def test_with_xet_on_the_files_really_came_that_way(results: Callable[[str], Results], running: launch.Running) -> None:
    assert not results("xet")["upload_folder_with_all_sorts_of_files"]
    assert any(path.stat().st_size > 5_000_000 for path in (running.root / "xorbs").rglob("*") if path.is_file())
