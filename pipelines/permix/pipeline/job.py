"""Making one artifact in this process: a job in, messages of how far it is and how it ended. It knows no Hub."""

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
from permix.stage import Parts, StageConfig


@dataclass(frozen=True)
class Job:
    """One artifact to make; `work` keeps what survives a kill, `out` what gets published.

    `keys` are the API keys of its models, {environment variable: key}, set while it is made and no longer.
    """

    key: str
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
    """What a worker tells: how far a job is, that it is done (facts, seconds) or failed (a sentence, exit code)."""

    kind: Literal["progress", "done", "failed"]
    key: str
    value: Any


class Samplers:
    """The engine that is open; another one is opened after this one is closed, so that memory holds one base."""

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
        """Close the engine that is open, if one is."""
        if self._open:
            self._open[1].close()
            self._open = None


def make(job: Job, tell: Callable[[Message], None], samplers: Samplers) -> Message:
    """Run the stage of `job` in this process, telling its progress; return how it ended."""
    shown = 0.0

    def progress(done: float, total: float, unit: str, note: str = "") -> None:
        nonlocal shown
        if time.monotonic() - shown >= 0.2 or done >= total:
            shown = time.monotonic()
            tell(Message("progress", job.key, (done, total, unit, note)))

    _use_threads(job.threads)
    os.environ.update(job.keys)
    started = time.perf_counter()
    parts = Parts(job.work, job.sources, job.digests, progress, job.threads, samplers, job.processes)
    try:
        made = stages.get(job.stage).run(job.config, job.inputs, job.out, parts=parts)
        facts = json.loads(json.dumps(run_record.canonical(made)))  # fails here, not when it is published
    except PermixError as error:
        return Message("failed", job.key, (str(error), error.exit_code))
    except MemoryError:
        lower = "batch_size or per_device_train_batch_size, or the number of workers"
        return Message("failed", job.key, (f"Out of memory while making {job.key}: lower {lower}.", 1))
    except Exception as error:
        traceback.print_exc()
        last = str(error).strip().splitlines() or [""]
        return Message("failed", job.key, (f"Making {job.key} failed with {type(error).__name__}: {last[0]}", 1))
    finally:
        for name in job.keys:
            os.environ.pop(name, None)
    return Message("done", job.key, (facts, time.perf_counter() - started))


def _use_threads(threads: int) -> None:
    os.environ["OMP_NUM_THREADS"] = str(threads)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(threads)
