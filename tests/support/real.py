"""Components that only .ci/run installs: elsewhere their tests skip, and where PERMIX_REAL=1 says so they fail."""

import importlib.util
import os
from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[3] / "shared"
"""The folder of real benchmark files beside a developer's checkout."""


def need(package: str, install: str) -> None:
    """Skip the test where `package` is not installed, naming the command `install`; fail it under PERMIX_REAL=1."""
    if importlib.util.find_spec(package) is None:
        sentence = f"{package} is not installed here: {install}"
        (pytest.fail if os.environ.get("PERMIX_REAL") == "1" else pytest.skip)(sentence)
