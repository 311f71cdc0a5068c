"""A real `vllm serve` on loopback, on the CPU."""

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from permix.sampling.engines.vllm_replica import ENVIRONMENT

SERVE = ["-m", "vllm.entrypoints.openai.api_server", "--host", "127.0.0.1", "--enforce-eager", "--dtype", "float32"]
# On a CPU, prompts that are read in parts end the engine where a request has a seed: no offset in its generators.
SERVE += ["--generation-config", "vllm", "--served-model-name", "base", "--no-enable-chunked-prefill"]


@contextmanager
def vllm_serve(base: Path, log: Path, *options: str) -> Iterator[str]:
    """Serve the model in `base` as "base"; the server's address, once it is up. What it prints goes to `log`."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = {**ENVIRONMENT, "VLLM_ENABLE_V1_MULTIPROCESSING": "1", "OMP_NUM_THREADS": "1"}
    with log.open("wb") as out:
        server = subprocess.Popen(
            [sys.executable, *SERVE, "--model", str(base), "--port", str(port), *options], env=os.environ | settings,
            stdout=out, stderr=out,
        )  # fmt: skip
    try:
        _wait(server, f"http://127.0.0.1:{port}/health", log)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        family = [psutil.Process(server.pid), *psutil.Process(server.pid).children(recursive=True)]
        for member in family:
            member.kill()
        server.wait()
        psutil.wait_procs(family, timeout=30)


def _wait(server: subprocess.Popen[bytes], health: str, log: Path) -> None:
    for _ in range(600):
        assert server.poll() is None, log.read_text()[-3000:]
        try:
            urllib.request.urlopen(health)
            return
        except urllib.error.URLError:
            time.sleep(0.5)  # a server says nowhere else when it is up
    raise AssertionError(log.read_text()[-3000:])
