"""The command line in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path


def environment_of(home: Path, **more: str) -> dict[str, str]:
    """This environment without its Hub and its settings of permix, with `home` as PERMIX_HOME."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "PERMIX_"))}
    return plain | {"PERMIX_HOME": str(home)} | more


def permix(home: Path, *arguments: str, check: bool = True, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process of its own, in an empty folder, with `home` as PERMIX_HOME."""
    home.mkdir(parents=True, exist_ok=True)
    completed = subprocess.run(
        [sys.executable, "-m", "permix", *arguments], env=environment_of(home, **environment), cwd=home,
        capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    if check and completed.returncode:
        output = f"{completed.stdout}\n{completed.stderr}"
        raise AssertionError(f"permix {' '.join(arguments)} ended with {completed.returncode}\n{output}")
    return completed


def refused(home: Path, *arguments: str, code: int = 2, **environment: str) -> str:
    """Run a command that must end with this exit code and one last sentence, before anything is made; its stderr."""
    completed = permix(home, *arguments, check=False, **environment)
    assert (completed.returncode, "making" in completed.stderr) == (code, False), completed.stderr
    assert completed.stderr.splitlines()[-1].startswith("permix: ")
    return completed.stderr
