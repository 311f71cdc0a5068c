"""Run one stage in this process: an assignment comes in, messages about progress and the outcome go out."""

import json
import os
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from permix import run_record, stages
from permix.errors import PermixError
from permix.sampling.sampler import Endpoint, Engine, Sampler
from permix.stage import StageConfig, StageContext


@dataclass(frozen=True)
class Assignment:
    """One artifact to build. `work` survives a kill, `out` is published, `keys` are {environment variable: API key}."""

    target: str
    stage: str
    config: StageConfig
    inputs: Mapping[str, Path]
    sources: Mapping[str, str]
    digests: Mapping[str, str]
    work: Path
    out: Path
    threads: int
    processes: int = 1
    keys: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class Message:
    """A worker's report: progress, success (facts, seconds) or failure (a sentence, exit code)."""

    kind: Literal["progress", "done", "failed"]
    target: str
    value: Any


class Samplers:
    """The open engine, closed before another one is opened, so that memory holds one base."""

    def __init__(self) -> None:
        self._open: tuple[Engine | Endpoint, Sampler] | None = None

    def __call__(self, engine: Engine | Endpoint) -> Sampler:
        from permix.sampling.engines import open_engine

        if self._open and self._open[0] == engine:
            return self._open[1]
        self.close()
        self._open = engine, open_engine(engine)
        return self._open[1]

    def close(self) -> None:
        """Close the open engine, if there is one."""
        if self._open:
            self._open[1].close()
            self._open = None


def run(assignment: Assignment, send: Callable[[Message], None], samplers: Samplers) -> Message:
    """Run the stage in this process, sending its progress; return the outcome."""
    target, threads, last_sent = assignment.target, assignment.threads, 0.0

    def progress(done: float, total: float, unit: str, note: str = "") -> None:
        nonlocal last_sent
        if time.monotonic() - last_sent >= 0.2 or done >= total:
            last_sent = time.monotonic()
            send(Message("progress", target, (done, total, unit, note)))

    os.environ["OMP_NUM_THREADS"] = str(threads)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(threads)
    os.environ.update(assignment.keys)
    started = time.perf_counter()
    context = StageContext(
        assignment.work, assignment.sources, assignment.digests, progress, threads, samplers, assignment.processes
    )
    try:
        stage = stages.get(assignment.stage)
        result = stage.run(assignment.config, assignment.inputs, assignment.out, context=context)
        facts = json.loads(json.dumps(run_record.canonical(result)))  # what JSON lacks fails here, not later
    except PermixError as error:
        return Message("failed", target, (str(error), error.exit_code))
    except MemoryError:
        lower = "batch_size or per_device_train_batch_size, or the number of workers"
        return Message("failed", target, (f"Out of memory while making {target}: lower {lower}.", 1))
    except Exception as error:
        traceback.print_exc()
        first = (str(error).strip().splitlines() or [""])[0]
        return Message("failed", target, (f"Making {target} failed with {type(error).__name__}: {first}", 1))
    finally:
        for name in assignment.keys:
            os.environ.pop(name, None)
    return Message("done", target, (facts, time.perf_counter() - started))
