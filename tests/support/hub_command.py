"""The command `permix hub` in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

from tests.support.wire import PIPELINES

PERMIX_HUB = [sys.executable, "-m", "permix", "hub"]


def permix_hub(home: Path, *words: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    """Run `permix hub WORDS` with its data in `home`."""
    defaults = {"PERMIX_HOME": str(home), "PYTHONPATH": str(PIPELINES), "PERMIX_HUB_LINGER": "5"}
    environment = os.environ | defaults | variables
    return subprocess.run([*PERMIX_HUB, *words], env=environment, capture_output=True, text=True)
