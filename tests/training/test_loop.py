"""Checkpoints and memory."""

import contextlib
import importlib
import json
import sqlite3
from pathlib import Path

import pytest
import torch

from permix import files
from permix.errors import PermixError
from permix.training import loop
from tests.support.trainings import config_of, train


def test_training_goes_on_from_a_checkpoint_that_was_finished_and_is_not_its_end(tmp_path: Path) -> None:
    assert loop.resumable(tmp_path) is None
    for step, finished in ((2, True), (10, True), (12, True), (14, False)):
        folder = tmp_path / f"checkpoint-{step}"
        files.write_json(folder / "trainer_state.json", {"global_step": step, "max_steps": 12})
        if finished:
            (folder / "complete").touch()
    assert [path.name for path in loop.complete(tmp_path)] == ["checkpoint-12", "checkpoint-10", "checkpoint-2"]
    assert loop.resumable(tmp_path) == str(tmp_path / "checkpoint-10")


def test_out_of_memory_says_what_to_lower() -> None:
    sentence = r"Out of memory .*lower \[grpo\] per_device_train_batch_size \(now 16\) and raise gradient_acc"
    with pytest.raises(PermixError, match=sentence), loop.memory(config_of("grpo")):
        torch.empty(1 << 55)
    with pytest.raises(PermixError, match=sentence), loop.memory(config_of("grpo")):
        raise torch.OutOfMemoryError("CUDA out of memory.")
    with pytest.raises(RuntimeError, match="shape"), loop.memory(config_of("grpo")):
        raise RuntimeError("shape mismatch")


def test_logs_differ_in_no_clock() -> None:
    entry = {"loss": 1.0, "step_time": 0.1, "train_runtime": 2.0, "train_tokens_per_second": 3.0}
    assert loop.comparable(entry) == {"loss": 1.0}
    assert loop.comparable({"num_tokens": 5, "num_input_tokens_seen": 9}) == {"num_tokens": 9}


def test_trackio_gets_every_step_under_the_adapters_name(inputs: dict[str, Path], tmp_path: Path) -> None:
    train("sft", inputs, tmp_path, report_to="trackio", max_steps=2)
    folder = importlib.import_module("trackio.utils").TRACKIO_DIR  # fixed when it is first imported, under HF_HOME
    with contextlib.closing(sqlite3.connect(folder / "permix.db")) as database:
        rows = database.execute("select run_name, metrics from metrics").fetchall()
    assert {name for name, _ in rows} == {"tiny-permix-sft-gold"}
    assert [json.loads(metrics).get("train/loss", 0) > 0 for _, metrics in rows][:2] == [True, True]
