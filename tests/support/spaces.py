"""A Space's app, in a process of its own as the Hub would start it."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from permix.stages import apps
from tests.support import real

CHROMIUM = Path("/usr/bin/chromium")


@contextmanager
def serve(space: str, folder: Path, **environment: str) -> Iterator[str]:
    """Run a Space, built as it is published, in the empty folder `folder`; yield its address once it answers."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = {"GRADIO_ANALYTICS_ENABLED": "False", "PYTHONUNBUFFERED": "1", "GRADIO_SERVER_PORT": str(port)}
    with (folder / "stderr").open("w") as stderr:
        app = subprocess.Popen(
            [sys.executable, str(apps.build(space, folder / "space") / "app.py")],
            env=os.environ | settings | environment, cwd=folder, stdout=subprocess.PIPE, stderr=stderr, text=True,
        )  # fmt: skip
    try:
        if not any("Running on local URL" in line for line in app.stdout):
            raise AssertionError(f"{space} did not start:\n{(folder / 'stderr').read_text()}")
        yield f"http://127.0.0.1:{port}"
    finally:
        app.terminate()
        app.wait(20)
        app.stdout.close()


def need_browser() -> str:
    """Return the path of Chromium; without it or playwright skip, or fail under PERMIX_REAL=1."""
    real.need("playwright", "pip install playwright")
    if not CHROMIUM.exists():
        sentence = f"{CHROMIUM} is missing: apt-get install chromium"
        (pytest.fail if os.environ.get("PERMIX_REAL") == "1" else pytest.skip)(sentence)
    return str(CHROMIUM)


def barriers(page: Any) -> list[str]:
    """Return the accessibility violations that axe finds: rule and first element of each."""
    real.need("axe_playwright_python", "pip install axe-playwright-python")
    from axe_playwright_python.sync_playwright import Axe

    page.wait_for_function("!document.querySelector('.pending')")  # gradio dims pending parts
    # gradio's own faults: its footer contains "Settings" twice, and its tables scroll in a box without focus
    context = {"exclude": [["footer img"], [".virtual-table-viewport"]]}
    report = Axe().run(page, context=context, options={"resultTypes": ["violations"]})
    return [f"{violation['id']}: {violation['nodes'][0]['html'][:200]}" for violation in report.response["violations"]]
