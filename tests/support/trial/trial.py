"""A stage that does what its Config says, for tests of runner, worker and chain."""

import os
import signal
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from permix.errors import BadInput
from permix.experiment.models import Model
from permix.stage import Facts, Stage, StageConfig, StageContext, unhashed


@dataclass(frozen=True, kw_only=True)
class Config(StageConfig):
    """`text` is written to data.txt; `noise` changes the digest alone."""

    TABLE: ClassVar[str] = "trial"

    stem: str
    does: str = "write"
    text: str = "text"
    noise: int = 0
    needs: tuple[str, ...] = ()
    together: str = ""
    toy: bool = unhashed(False)
    models: tuple[Model, ...] = ()
    seconds: float = unhashed(0.0)


def target(config: Config) -> str:
    return f"datasets/{config.name(config.stem)}"


def inputs(config: Config) -> dict[str, str]:
    return {str(number): repo for number, repo in enumerate(config.needs)}


def group(config: Config) -> str:
    return config.together or config.stem


def run(config: Config, inputs: Mapping[str, Path], out: Path, *, context: StageContext) -> Facts:
    started, half = time.time(), context.work / "half"
    resumed = half.exists()
    half.write_text("")
    context.progress(0, 2, "steps")
    time.sleep(config.seconds)
    if config.does == "raise":
        raise ValueError("the first line\nthe second line")
    if config.does == "refuse":
        raise BadInput("The input is wrong.")
    if config.does == "exhaust":
        raise MemoryError
    if config.does == "die" and not resumed:
        os.kill(os.getpid(), signal.SIGKILL)
    if config.does == "exit":
        sys.exit(3)
    if config.does == "die later":
        threading.Timer(0.3, os._exit, (1,)).start()
    context.progress(2, 2, "steps", "done")
    (out / "data.txt").write_text(config.text + "".join((path / "data.txt").read_text() for path in inputs.values()))
    facts: Facts = {"pid": os.getpid(), "started": started, "ended": time.time(), "resumed": resumed}
    secrets = sorted(name for name, value in os.environ.items() if value == "secret")
    facts |= {"secrets": secrets, "offline": os.environ["HF_HUB_OFFLINE"]}
    facts |= {"threads": context.threads, "sources": dict(context.sources), "cost": {"tokens": 7}}
    return facts | ({"bad": {1, 2}} if config.does == "tell a set" else {})


STAGE = Stage(
    name="trial", card="", version=1, config=Config, configs=lambda recipe: [], target=target, inputs=inputs, run=run,
    group=group,
)  # fmt: skip
