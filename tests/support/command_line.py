"""The command line in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path


def permix(home: Path, *arguments: str, check: bool = True, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process of its own, in an empty folder, with `home` as PERMIX_HOME."""
    home.mkdir(parents=True, exist_ok=True)
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "PERMIX_"))}
    done = subprocess.run(
        [sys.executable, "-m", "permix", *arguments],
        env=kept | {"PERMIX_HOME": str(home)} | environment,
        cwd=home,
        capture_output=True,
        text=True,
        timeout=600,
    )
    if check and done.returncode:
        raise AssertionError(f"permix {' '.join(arguments)} ended with {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done
