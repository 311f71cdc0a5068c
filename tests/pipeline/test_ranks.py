"""Trainings in two processes under accelerate, on a CPU: the same result, one publisher, nothing left after a kill."""

import contextlib
import json
import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import HfApi
from transformers import GenerationMixin

from permix import run_record
from permix.errors import BadInput
from permix.pipeline import plan, ranks, runner
from permix.pipeline.assignment import Assignment
from permix.pipeline.plan import Step
from permix.progress import Board
from permix.stages import grpo, sft
from permix.training import loop
from tests.support import rank_patches, warm
from tests.support.hubs import embedded
from tests.support.ranks import SETTINGS, assert_same, in_every_rank, job_of
from tests.support.trainings import Trained, config_of, train
from tests.support.waiting import wait_until


def run_until_a_checkpoint(job: Assignment) -> None:
    """Run the job until its first checkpoint is whole, and be killed."""

    def tell(message: object) -> None:
        wait_until(lambda: loop.complete(job.work / "checkpoints"), every=0.01)
        os.kill(os.getpid(), signal.SIGKILL)

    ranks.run(job, tell)


@pytest.fixture(scope="module")
def alone(inputs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """The adapter of one process."""
    return train("sft", inputs, tmp_path_factory.mktemp("alone"), **SETTINGS)


def test_a_killed_training_ends_equal_with_no_process(alone: Trained, inputs: dict[str, Path], tmp_path: Path) -> None:
    """The worker is killed when there is a first checkpoint; its launcher and two ranks are then at the next steps."""
    job = job_of("sft", inputs, tmp_path, save_steps=1)
    assert warm.Child(run_until_a_checkpoint, job).wait() == -signal.SIGKILL
    wait_until(lambda: not running(tmp_path))
    assert loop.complete(tmp_path / "work" / "checkpoints")
    message = ranks.run(job, lambda _: None)
    assert (message.kind, message.value[0]["cost"]) == ("done", alone[1]["cost"] | {"processes": 2})
    assert_same(alone[0], tmp_path / "out")
    assert len(lines(tmp_path / "out" / "log.jsonl")) == SETTINGS["max_steps"]


def running(folder: Path) -> list[str]:
    """The commands of all processes that were started with this folder."""
    commands = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            commands.append(entry.read_bytes().decode(errors="replace"))
    return [command for command in commands if str(folder) in command]


def test_grpo_takes_the_same_steps_on_the_same_rollouts_and_the_parent_alone_publishes(
    inputs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The gradients are equal: their norm at each step, and the adapter that follows from them."""
    monkeypatch.setattr(GenerationMixin, "generate", GenerationMixin.generate)  # puts it back afterwards
    rank_patches.play_recorded_rollouts()
    settings = SETTINGS | {"beta": 0.04}
    alone, _ = train("grpo", inputs, tmp_path / "one", **settings)

    hub = embedded(tmp_path / "cache")
    api = HfApi(endpoint=hub.endpoint, token=hub.token)
    for name, kind in (("base", "model"), ("mixture", "dataset")):
        api.create_repo(f"ranks/{name}", repo_type=kind)
        api.upload_folder(repo_id=f"ranks/{name}", repo_type=kind, folder_path=inputs[name])
    settings |= {"save_steps": 1, "checkpoint_branch": "keep"}
    config = config_of("grpo", **settings, org="ranks", base="ranks/base", mixture="datasets/ranks/mixture")
    step = Step.of(grpo.STAGE, config)
    foreign = plan.look_up([step], hub)
    in_every_rank("play_recorded_rollouts", tmp_path, monkeypatch)
    artifact = runner.Runner(hub, tmp_path / "work", 2, Board(quiet=True), 2).run([step], foreign)[step.target]
    assert (artifact.record["facts"]["steps"], artifact.record["cost"]["processes"]) == (3, 2)
    assert artifact.record["config"]["gradient_accumulation_steps"] == 4
    assert len(api.list_repo_commits(step.target)) == 2  # the repository's first, and ours
    assert not list((tmp_path / "work").glob("grpo/*"))
    (branch,) = (ref for ref in api.list_repo_refs(step.target).branches if ref.name != "main")
    held = api.list_repo_files(step.target, revision=branch.name)
    assert {name.split("/")[1] for name in held if name.startswith("checkpoints/")} == {"checkpoint-3"}

    both = (alone, hub.fetch(artifact))
    logs, samples = ([lines(out / f"{name}.jsonl") for out in both] for name in ("log", "samples"))
    assert [entry["reward"] for entry in logs[0]][:2] == [0.5, 0.5]
    for mine, others in zip(*logs, strict=True):
        for name in ("reward", "grad_norm", "kl", "entropy"):
            assert others[name] == pytest.approx(mine[name], rel=1e-4, abs=1e-6), (name, mine["step"])
    assert_same(*both)
    first, second = ({(row["step"], row["persona"]) for row in rows} for rows in samples)
    assert first == second


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_failure_in_a_rank_is_told_in_its_sentence(inputs: dict[str, Path], tmp_path: Path) -> None:
    job = replace(job_of("sft", inputs, tmp_path), stage="sftt")
    message = ranks.run(job, lambda _: None)
    assert (message.kind, message.value) == ("failed", ("There is no stage 'sftt': did you mean 'sft'?", 2)), message


def test_a_batch_that_processes_cannot_share_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    config = config_of("sft", **SETTINGS)
    steps = [Step.of(sft.STAGE, config)]
    monkeypatch.setattr(run_record, "hardware", lambda: {"gpu": []})
    for processes in (1, 2, 4):
        ranks.check(steps, processes)
    sentence = r"\[sft\] gradient_accumulation_steps is 4 and cannot be shared by 3 .*: use --processes 1 or 2 or 4, or"
    with pytest.raises(BadInput, match=sentence):
        ranks.check(steps, 3)
    monkeypatch.setattr(run_record, "hardware", lambda: {"gpu": ["A100"]})
    with pytest.raises(BadInput, match="--processes is 2 and this machine has 1 GPU: use at most 1"):
        ranks.check(steps, 2)
