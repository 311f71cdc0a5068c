"""Trainings in several processes under accelerate."""

from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from permix.pipeline.assignment import Assignment
from tests.support.trainings import SHA, config_of

ROOT = Path(__file__).parents[2]
SETTINGS = {"lora_dropout": 0.0, "per_device_train_batch_size": 4, "gradient_accumulation_steps": 4, "max_steps": 3}
IN_EVERY_RANK = """
import os, sys
if "RANK" in os.environ:
    sys.path.append({root!r})
    from tests.support import rank_patches
    rank_patches.{call}()
"""


def job_of(stage: str, inputs: dict[str, Path], folder: Path, **settings: Any) -> Assignment:
    for name in ("out", "work"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    config = config_of(stage, **SETTINGS | settings)
    sources = {"base": f"org/tiny@{SHA}"}
    return Assignment("org/tiny-x", stage, config, inputs, sources, {}, folder / "work", folder / "out", 1, 2)


def in_every_rank(call: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each rank that is started from here on call a function of rank_patches first."""
    (folder / "sitecustomize.py").write_text(IN_EVERY_RANK.format(root=str(ROOT), call=call))
    monkeypatch.setenv("PYTHONPATH", str(folder))


def assert_same(first: Path, second: Path) -> None:
    """Equal up to rounding, as a whole: Adam makes a step of a gradient that is nothing but rounding, too."""
    mine, others = (load_file(folder / "adapter_model.safetensors") for folder in (first, second))
    assert mine.keys() == others.keys()
    for name, tensor in mine.items():
        assert (tensor - others[name]).norm() < 5e-3 * tensor.norm(), name
