"""Run the steps of a plan: the one door to the runner."""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from permix import files, processes
from permix.pipeline import plan, ranks
from permix.pipeline.assignment import Samplers
from permix.pipeline.runner import Runner
from permix.progress import Board
from permix.publishing.hub import Artifact, Hub, RepositoryState
from permix.stage import Facts, Stage, StageConfig, StageContext


def run(
    steps: Sequence[plan.Step],
    foreign: Mapping[str, RepositoryState],
    hub: Hub,
    *,
    work: Path | None = None,
    workers: int = 0,
    processes: int = 1,
) -> dict[str, Artifact]:
    """Build every open step, after a look-up; return {target: artifact}."""
    with Board() as board:
        return Runner(hub, work or files.home() / "work", workers or _workers(), board, processes).run(steps, foreign)


def prepare(plans: Sequence[plan.Plan], hub: Hub, processes: int, *, here: bool) -> list[str]:
    """Compare the plans with the Hub and check all that would fail late; return the warnings of their open steps."""
    hub.check_write(plans[0].recipe.org)
    for each in plans:
        each.look_up(hub)
        ranks.check(each.steps, processes, here=here)
        if here:
            plan.check_packages(each.steps)
        plan.check_foreign(each.steps, each.foreign, hub)
    return list(dict.fromkeys(note for each in plans for note in plan.notes(each.steps)))


def run_step(stage: Stage[Any], config: StageConfig, hub: Hub, work: Path | None = None) -> Artifact:
    """Build the single artifact of `config`, unless it is current."""
    step = plan.Step.of(stage, config)
    hub.check_write(config.org)
    foreign = plan.look_up([step], hub)
    plan.check_packages([step])
    return run([step], foreign, hub, work=work, workers=1)[step.target]


def in_process(stage: Stage[Any], config: StageConfig, inputs: Mapping[str, Path], out: Path, work: Path) -> Facts:
    """Run a stage in this process without publishing anything; return its facts."""
    out.mkdir(parents=True, exist_ok=True)
    samplers = Samplers()
    try:
        context = StageContext(work, {}, {}, lambda *_: None, 1, samplers)
        return stage.run(config, inputs, out, context=context)
    finally:
        samplers.close()


def _workers() -> int:
    """One worker per core. With a GPU, one worker in all, because two trainings would compete for it."""
    return 1 if shutil.which("nvidia-smi") else processes.cores()
