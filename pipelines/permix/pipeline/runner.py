"""Build every step that is missing or stale: fetch its inputs, run it in a worker, publish it.

Safe to kill at any moment: work stays in `<work>/<stage>/<digest>` until the artifact is published, and the Hub's
commit is the only mark of completion.
"""

import fcntl
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from permix import processes as children
from permix.errors import PermixError, Stopped
from permix.experiment import models
from permix.pipeline import publication
from permix.pipeline.assignment import Assignment, Message
from permix.pipeline.checkpoints import Branches
from permix.pipeline.plan import Step
from permix.pipeline.worker import main as worker_main
from permix.progress import Board
from permix.publishing.hub import Artifact, Hub, RepositoryState


@dataclass
class _Worker:
    """One child process and the steps it was given."""

    number: int
    log: Path
    child: subprocess.Popen[bytes]
    pipe: Connection
    steps: list[Step] = field(default_factory=list)


@dataclass
class Runner:
    """Runs the steps of a plan until all are current."""

    hub: Hub
    work: Path
    workers: int
    board: Board
    processes: int = 1
    _keys: set[str] = field(default_factory=set, init=False)  # environment variables with API keys
    _branches: Branches = field(init=False)
    _beside: dict[str, int] = field(default_factory=dict, init=False)  # by target, as `_side_by_side` counts

    def __post_init__(self) -> None:
        self._branches = Branches(self.hub, self.board)

    def run(self, steps: Sequence[Step], foreign: Mapping[str, RepositoryState]) -> dict[str, Artifact]:
        """Build every open step; return {target: artifact}. Raise the first failure after running steps have ended."""
        with _only_one(self.work) as lock:
            states, self._beside = dict(foreign), _side_by_side(steps)
            self._keys = {model.key for step in steps for model in models.used_by(step.config)}
            waiting = list(steps)
            crew: list[_Worker] = []
            failures: list[PermixError] = []
            try:
                while waiting or any(w.steps for w in crew):
                    ready = self._settle(waiting, states)
                    failures += self._deal(ready if not failures else [], waiting, crew, lock)
                    if not any(w.steps for w in crew):
                        break
                    failures += self._listen(crew, states)
            except KeyboardInterrupt:
                raise Stopped("stopped; run the same command again to continue.") from None
            finally:
                for worker in crew:
                    worker.pipe.close()
                    worker.child.kill()
                    worker.child.wait()
            if failures:
                raise failures[0]
            return {step.target: step.artifact for step in steps}

    def _settle(self, waiting: list[Step], states: dict[str, RepositoryState]) -> list[Step]:
        """Remove current steps from `waiting`; return the steps whose inputs are all current."""
        ready = []
        for step in list(waiting):
            if not step.settle(states):
                continue
            if step.state == "current":
                waiting.remove(step)
                states[step.target] = step.artifact
                self._finish(step)
                self.board.current(step.target)
            else:
                ready.append(step)
        return ready

    def _deal(self, ready: list[Step], waiting: list[Step], crew: list[_Worker], lock: int) -> list[PermixError]:
        """Give ready steps to idle workers; return failures. A step that runs alone waits until no other runs."""
        busy = [w for w in crew if w.steps]
        if any(self._alone(s) for w in busy for s in w.steps):
            return []
        alone = [s for s in ready if self._alone(s)]
        shared = [s for s in ready if s not in alone]
        if not shared and alone and not busy:
            shared = alone[:1]
        failures = []
        for batch in _batches(shared, self.workers - len(busy)):
            idle = (w for w in crew if not w.steps and w.child.poll() is None)
            worker = next(idle, None) or self._hire(crew, lock)
            for step in batch:
                waiting.remove(step)
                worker.steps.append(step)
            failures += self._send(worker)
        return failures

    def _processes(self, step: Step) -> int:
        return self.processes if step.stage.ranks else 1

    def _alone(self, step: Step) -> bool:
        return step.stage.all_cores or self._processes(step) > 1

    def _threads(self, step: Step) -> int:
        """Return the step's share of the cores: all for a single sweep, one for one of many steps side by side.

        It depends on the plan alone, not on the steps that are ready, so that a killed run continues with equal
        results: the rounding of floats changes with the threads. That of the toy world stays as published.
        """
        shares = self.workers
        if self._alone(step):
            shares = self._processes(step)
        elif step.stage.group and not getattr(step.config, "toy", False):
            shares = min(self.workers, self._beside[step.target])
        return max(1, children.cores() // shares)

    def _hire(self, crew: list[_Worker], lock: int) -> _Worker:
        """Start a child. It inherits the lock, so that a new run waits for the children of a killed run."""
        log = self.work / "logs" / f"worker-{len(crew)}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        environment = {k: v for k, v in children.without_secrets().items() if k not in self._keys}
        environment |= {
            "HF_HUB_OFFLINE": "1",
            "HF_HUB_DISABLE_IMPLICIT_TOKEN": "1",
            "TOKENIZERS_PARALLELISM": "false",
            "OMP_WAIT_POLICY": "PASSIVE",  # threads that spin while they wait starve the other workers
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        }
        with log.open("ab") as out:
            child, pipe = children.start(worker_main, environment, out, [lock])
        crew.append(_Worker(len(crew), log, child, pipe))
        return crew[-1]

    def _send(self, worker: _Worker) -> list[PermixError]:
        step = worker.steps[0]
        folder = self._folder(step)
        out = folder / "out"
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir(parents=True)
        self.board.start(step.target)
        try:
            folders = step.fetch(self.hub, step.sources)
            self._branches.restore(step, folder / "work")
            worker.pipe.send(
                Assignment(
                    target=step.target,
                    stage=step.stage.name,
                    config=step.config,
                    inputs=folders,
                    sources={name: f"{source.repo}@{source.sha}" for name, source in step.sources.items()},
                    digests={name: source.content_digest for name, source in step.sources.items()},
                    work=folder / "work",
                    out=out,
                    threads=self._threads(step),
                    processes=self._processes(step),
                    keys=models.keys(step.config),
                )
            )
        except PermixError as error:
            return [self._give_up(worker, step, error)]
        except ConnectionError:
            return [self._give_up(worker, step, PermixError(_death(worker)))]
        return []

    def _listen(self, crew: list[_Worker], states: dict[str, RepositoryState]) -> list[PermixError]:
        """Wait for one round of messages; publish finished steps and return failures."""
        failures: list[PermixError] = []
        busy = {w.pipe: w for w in crew if w.steps}
        for pipe in wait(list(busy), timeout=1.0):
            worker = busy[pipe]  # type: ignore[index]
            try:
                message: Message = worker.pipe.recv()
            except (EOFError, OSError):
                message = Message("failed", worker.steps[0].target, (_death(worker), 1))
            if message.kind == "progress":
                self.board.update(message.target, *message.value)
                self._branches.push(worker.steps[0], self._folder(worker.steps[0]) / "work")
                continue
            step = worker.steps.pop(0)
            if message.kind == "failed":
                sentence, code = message.value
                failure = PermixError(f"{sentence} (log: {worker.log})")
                failure.exit_code = code
                failures.append(self._give_up(worker, step, failure))
                continue
            facts, seconds = message.value
            try:
                publication.publish(step, self._folder(step) / "out", facts, seconds, self.hub)
                states[step.target] = step.artifact
                self._finish(step)
            except PermixError as error:
                failures.append(self._give_up(worker, step, error))
                continue
            self.board.done(step.target, seconds)
            if worker.steps:
                failures += self._send(worker)
        return failures

    def _give_up(self, worker: _Worker, step: Step, failure: PermixError) -> PermixError:
        worker.steps.clear()
        self.board.failed(step.target)
        return failure

    def _finish(self, step: Step) -> None:
        """Finish a publication that a kill may have interrupted, and delete the work folder."""
        publication.finish(step, self.hub)
        self._branches.close(step, self._folder(step) / "work")
        shutil.rmtree(self._folder(step), ignore_errors=True)

    def _folder(self, step: Step) -> Path:
        folder = self.work / step.stage.name / step.digest[:32]
        (folder / "work").mkdir(parents=True, exist_ok=True)
        return folder


def _batches(ready: Sequence[Step], idle: int) -> list[list[Step]]:
    """Return at most `idle` batches: a group's steps together, split only while workers would be idle."""
    groups: dict[Any, list[Step]] = {}
    for step in ready:
        group = step.stage.group
        key = (step.stage.name, group(step.config)) if group else (step.target,)
        groups.setdefault(key, []).append(step)
    batches = list(groups.values())
    while 0 < len(batches) < idle and len(longest := max(batches, key=len)) > 1:
        half = len(longest) // 2
        batches.append(longest[half:])
        del longest[half:]
    return batches[: max(idle, 0)]


def _side_by_side(steps: Sequence[Step]) -> dict[str, int]:
    """Return for each target how many steps may run at the same time, itself included: those it does not wait for."""
    before: dict[str, set[str]] = {}
    for step in steps:  # each after those that it needs
        needs = set(step.needs.values())
        before[step.target] = needs.union(*(before.get(repo, ()) for repo in needs))
    return {
        target: sum(target not in before[other] and other not in before[target] for other in before)
        for target in before
    }


def _death(worker: _Worker) -> str:
    code = worker.child.wait()
    end = f"was killed by signal {-code} (out of memory?)" if code < 0 else f"ended with code {code}"
    return f"The worker that made {worker.steps[0].target} {end}: run again to continue."


@contextmanager
def _only_one(work: Path) -> Iterator[int]:
    """Hold the lock of the work folder and yield its descriptor; PermixError if another run holds it."""
    work.mkdir(parents=True, exist_ok=True)
    with (work / "lock").open("w") as lock:
        for attempt in range(30):
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError:
                if attempt == 29:
                    raise PermixError(
                        f"Another permix run is at work in {work}: wait for it, or give this one --work elsewhere."
                    ) from None
                time.sleep(0.1)
        yield lock.fileno()
