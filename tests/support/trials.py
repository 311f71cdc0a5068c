"""Puts the trial stages among the real ones, here and in the workers."""

from pathlib import Path
from typing import Any

import pytest

from permix import processes, stages
from permix.pipeline import plan, runner
from permix.pipeline.plan import Step
from permix.progress import Board
from permix.publishing.hub import Artifact, Hub, RepositoryState

FOLDER = Path(__file__).with_name("trial")
JOIN = f"""
from permix import stages
stages.NAMES += ("trial", "trial_alone")
stages.__path__.append({str(FOLDER)!r})
"""
CALL = processes.CALL.replace("{name}(", f"{JOIN.strip()}\n{{name}}(")


def join(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the trial stages known."""
    monkeypatch.setattr(stages, "NAMES", (*stages.NAMES, "trial", "trial_alone"))
    monkeypatch.setattr(stages, "__path__", [*stages.__path__, str(FOLDER)])
    monkeypatch.setattr(processes, "CALL", CALL)


def step(org: str, stem: str, stage: str = "trial", **settings: Any) -> Step:
    """One step that publishes datasets/org/stem; `needs` are the stems of others."""
    needs = tuple(f"datasets/{org}/{other}" for other in settings.pop("needs", ()))
    page = stages.get(stage)
    return Step.of(page, page.config(org=org, stem=stem, needs=needs, **settings))


def run(hub: Hub, work: Path, *steps: Step, workers: int = 2, board: Board | None = None) -> dict[str, Artifact]:
    """Look up and run steps as `permix run` does; artifacts by stem."""
    foreign = plan.look_up(steps, hub)
    artifacts = runner.Runner(hub, work, workers, board or Board(quiet=True)).run(steps, foreign)
    return {target.rsplit("/", 1)[1]: artifact for target, artifact in artifacts.items()}


def facts(head: RepositoryState | None) -> dict[str, Any]:
    """The facts in a head's record."""
    return dict(head.record["facts"])
