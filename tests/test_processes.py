"""Child processes: no secret in their environment, and an end when their parent is gone."""

import subprocess
import sys
from pathlib import Path

import pytest

from permix import processes

CHILD = """
import os, time
from permix import processes
processes.end_with_parent(os.getppid())
print("watching", flush=True)
time.sleep(600)
"""
PARENT = f"""
import subprocess, sys
subprocess.run([sys.executable, "-c", {CHILD!r}])
"""


def test_an_environment_for_children_has_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "HF_TOKEN", "Db_Password", "TOKENIZERS_PARALLELISM"):
        monkeypatch.setenv(name, "x")
    left = processes.without_secrets()
    assert left["TOKENIZERS_PARALLELISM"] == "x"
    assert not {"OPENAI_API_KEY", "HF_TOKEN", "Db_Password"} & left.keys()


def test_a_child_ends_when_its_parent_is_killed() -> None:
    package = str(Path(processes.__file__).parents[1])
    command = [sys.executable, "-c", PARENT]
    with subprocess.Popen(command, env={"PYTHONPATH": package}, stdout=subprocess.PIPE) as parent:
        assert parent.stdout
        assert parent.stdout.readline() == b"watching\n"
        parent.kill()
        assert parent.stdout.read() == b""  # the child holds this pipe too, until it has ended
