"""Components that only .ci/run installs: elsewhere their tests skip, and where PERMIX_REAL=1 says so they fail."""

import importlib.util
import os
from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[3] / "shared"
"""The folder of real benchmark files beside a developer's checkout."""


IDS = {
    "SmolLM2-135M-Instruct": "HuggingFaceTB/SmolLM2-135M-Instruct",
    "Qwen2.5-Coder-0.5B-Instruct": "Qwen/Qwen2.5-Coder-0.5B-Instruct",
    "gemma-3-270m": "google/gemma-3-270m",
}
"""{folder in $PERMIX_MODELS: repository on huggingface.co}"""


def folder(name: str) -> Path:
    """Return the folder that a real model has in $PERMIX_MODELS, whether it is there or not."""
    return Path(os.environ.get("PERMIX_MODELS") or "models").absolute() / name


def download(name: str) -> str:
    """Return the command that downloads a real model into its folder."""
    return f"hf download {IDS[name]} --local-dir $PERMIX_MODELS/{name}"


def model(name: str) -> Path:
    """Return the folder of a real model; skip the test unless `PERMIX_MODELS=FOLDER make real` has it."""
    if os.environ.get("PERMIX_REAL") != "1" or not (folder(name) / "config.json").is_file():
        pytest.skip(f"no {name}: `{download(name)}`, then `PERMIX_MODELS=FOLDER make real`")
    return folder(name)


def need(package: str, install: str) -> None:
    """Skip the test where `package` is not installed, naming the command `install`; fail it under PERMIX_REAL=1."""
    if importlib.util.find_spec(package) is None:
        sentence = f"{package} is not installed here: {install}"
        (pytest.fail if os.environ.get("PERMIX_REAL") == "1" else pytest.skip)(sentence)
