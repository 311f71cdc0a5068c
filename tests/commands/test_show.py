"""`permix show` on the artifacts of the smoke run."""

from pathlib import Path

from tests.support.command_line import permix_here


def test_an_adapter_shows_how_its_training_went(smoke: Path) -> None:
    printed = permix_here(smoke, "show", "permix-smoke/permix-toy-permix-rlvr").stdout
    course = printed.partition("training, first to last step\n")[2].partition("\n\nfiles")[0]
    named = [line.split("  ")[1].strip() for line in course.splitlines()]
    assert {"mean reward", "groups without signal", "completion length", "truncated completions"} <= set(named)
    assert "samples.jsonl" in printed
    assert "figures/training.png" in printed


def test_another_artifact_has_no_training(smoke: Path) -> None:
    assert "training, first" not in permix_here(smoke, "show", "datasets/permix-smoke/permix-personas").stdout
