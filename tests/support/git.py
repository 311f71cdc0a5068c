"""Git's own check of a repository."""

import subprocess
from pathlib import Path


def git_fsck(folder: Path) -> None:
    """Fail unless every object of the repository is sound and none is missing."""
    child = subprocess.run(["git", "-C", str(folder), "fsck", "--full", "--strict"], capture_output=True, text=True)
    assert child.returncode == 0, child.stderr
    assert "missing" not in child.stdout + child.stderr
