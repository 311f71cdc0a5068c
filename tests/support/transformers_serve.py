"""A real `transformers serve` on loopback, on the CPU."""

import os
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.real import need
from tests.support.waiting import wait_until


@contextmanager
def transformers_serve(model: Path, folder: Path) -> Iterator[str]:
    """Serve the model under its path; yield the server's address. Its log and its cache are in `folder`."""
    need("fastapi", "pip install 'transformers[serving]'")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (folder / "hf" / "hub").mkdir(parents=True)
    program = str(Path(sys.executable).with_name("transformers"))
    command = [program, "serve", str(model), "--host", "127.0.0.1", "--port", str(port), "--device", "cpu"]
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(folder / "hf")}

    def is_up() -> bool:
        assert server.poll() is None, (folder / "log").read_text()
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health"):
                return True
        except OSError:
            return False

    with (
        (folder / "log").open("wb") as log,
        subprocess.Popen(command, env=environment, stdout=log, stderr=log) as server,
    ):
        try:
            wait_until(is_up, every=0.2)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            server.kill()
