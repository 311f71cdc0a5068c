"""Tokens per second of an engine, and of a program of scripts.toml that does the same without permix."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from permix.sampling.sampler import Request, Sampler
from tests.bench.row import SCRIPTS


def rate(engine: Sampler, requests: Sequence[Request]) -> float:
    """Return the sampled tokens per second."""
    started = time.perf_counter()
    completions = list(engine.sample(requests))
    seconds = time.perf_counter() - started
    assert all(completion.finish != "error" for completion in completions), completions
    return sum(completion.tokens_out for completion in completions) / seconds


class Script:
    """The program `name` of scripts.toml with these arguments, in a process of its own.

    It answers every line of JSON, [requests, *options], with a line: tokens per second.
    """

    def __init__(self, name: str, folder: Path, *arguments: object, threads: int = 1) -> None:
        script = folder / f"{name}.py"  # a file, because vLLM starts processes that import it
        script.write_text(SCRIPTS[name], encoding="utf-8")
        quiet = {"OMP_NUM_THREADS": str(threads), "VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind"}
        quiet |= {"VLLM_LOGGING_LEVEL": "ERROR", "VLLM_NO_USAGE_STATS": "1", "HF_HUB_OFFLINE": "1"}
        self._child = subprocess.Popen(
            [sys.executable, "-W", "ignore", str(script), *map(str, arguments)],
            env=os.environ | quiet,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def rate(self, requests: Sequence[Request], *options: object) -> float:
        """Sample the requests once and return the tokens per second."""
        self._child.stdin.write(json.dumps([[asdict(request) for request in requests], *options]) + "\n")
        self._child.stdin.flush()
        for line in self._child.stdout:
            if line[0].isdigit():
                return float(line)
        raise RuntimeError(f"the script ended with code {self._child.wait()}")

    def __enter__(self) -> "Script":
        return self

    def __exit__(self, *_: object) -> None:
        self._child.communicate()
