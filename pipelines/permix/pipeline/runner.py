"""Make what is missing: resolve, fetch, run in workers, record, render, publish in one commit, in that order.

Safe to kill at any moment: work lies in `<work>/<stage>/<digest>` until the artifact is published, and the Hub's
commit is the only mark of being done.
"""

import fcntl
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from permix import files, run_record, stages
from permix import processes as children
from permix.errors import PermixError, Stopped
from permix.experiment import models
from permix.pipeline import plan
from permix.pipeline.checkpoints import Branches
from permix.pipeline.job import Job, Message
from permix.pipeline.plan import Step
from permix.pipeline.worker import main as worker_main
from permix.progress import Board
from permix.publishing import cards, eval_results
from permix.publishing.hub import Head, Hub


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
    """Brings a chain of steps to the state `current`."""

    hub: Hub
    work: Path
    workers: int
    board: Board
    processes: int = 1
    _keys: set[str] = field(default_factory=set, init=False)  # variables with the API keys of servers
    _branches: Branches = field(init=False)

    def __post_init__(self) -> None:
        self._branches = Branches(self.hub, self.board)

    def run(self, steps: Sequence[Step], foreign: Mapping[str, Head]) -> dict[str, Head]:
        """Make every step that is not current; return {target: head}. A failure is raised after the others ended."""
        with _only_one(self.work) as lock:
            heads = dict(foreign)
            self._keys = {model.key for step in steps for model in models.used_by(step.config)}
            waiting = list(steps)
            crew: list[_Worker] = []
            failures: list[PermixError] = []
            try:
                while waiting or any(w.steps for w in crew):
                    ready = self._settle(waiting, heads)
                    failures += self._deal(ready if not failures else [], waiting, crew, lock)
                    if not any(w.steps for w in crew):
                        break
                    failures += self._listen(crew, heads)
            except KeyboardInterrupt:
                raise Stopped("stopped; run the same command again to continue.") from None
            finally:
                for worker in crew:
                    worker.pipe.close()
                    worker.child.kill()
                    worker.child.wait()
            if failures:
                raise failures[0]
            return {step.target: heads[step.target] for step in steps}

    def _settle(self, waiting: list[Step], heads: dict[str, Head]) -> list[Step]:
        """Take out of `waiting` what is current; return what can be made now."""
        ready = []
        for step in list(waiting):
            if not plan.settle(step, heads):
                continue
            if step.state == "current" and step.head:
                waiting.remove(step)
                heads[step.target] = step.head
                self._finish(step, step.head)
                self.board.current(step.target)
            else:
                ready.append(step)
        return ready

    def _deal(self, ready: list[Step], waiting: list[Step], crew: list[_Worker], lock: int) -> list[PermixError]:
        """Give ready steps to idle workers; return what failed. A step that runs alone does so after the others."""
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
        return self.processes if getattr(step.module, "RANKS", False) else 1

    def _alone(self, step: Step) -> bool:
        return getattr(step.module, "ALL_CORES", False) or self._processes(step) > 1

    def _hire(self, crew: list[_Worker], lock: int) -> _Worker:
        """Start a child. It holds the lock too, so that a new run waits for the children of a killed one."""
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
            child, here = children.start(worker_main, environment, out, [lock])
        crew.append(_Worker(len(crew), log, child, here))
        return crew[-1]

    def _send(self, worker: _Worker) -> list[PermixError]:
        """Hand the worker the first of its steps; return what failed."""
        step = worker.steps[0]
        folder = self._folder(step)
        out = folder / "out"
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir(parents=True)
        processes, cores = self._processes(step), os.cpu_count() or 1
        threads = max(1, cores // (processes if self._alone(step) else self.workers))
        sources = {name: f"{head.repo}@{head.sha}" for name, head in step.sources.items()}
        digests = {name: head.content_digest for name, head in step.sources.items()}
        self.board.start(step.target)
        try:
            folders = step.fetch(self.hub, step.sources)
            self._branches.restore(step, folder / "work")
            names, where = (step.target, step.stage, step.config), (folder / "work", out)
            worker.pipe.send(
                Job(
                    *names,
                    folders,
                    sources,
                    digests,
                    *where,
                    threads,
                    processes,
                    models.keys(step.config),
                )
            )
        except PermixError as error:
            return [self._give_up(worker, step, error)]
        except ConnectionError:
            return [self._give_up(worker, step, PermixError(_death(worker)))]
        return []

    def _listen(self, crew: list[_Worker], heads: dict[str, Head]) -> list[PermixError]:
        """Wait for one round of messages; publish what is done and return what failed."""
        failures: list[PermixError] = []
        busy = {w.pipe: w for w in crew if w.steps}
        for pipe in wait(list(busy), timeout=1.0):
            worker = busy[pipe]  # type: ignore[index]
            try:
                message: Message = worker.pipe.recv()
            except (EOFError, OSError):
                message = Message("failed", worker.steps[0].target, (_death(worker), 1))
            if message.kind == "progress":
                self.board.update(message.key, *message.value)
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
                heads[step.target] = self._publish(step, facts, seconds)
            except PermixError as error:
                failures.append(self._give_up(worker, step, error))
                continue
            self.board.done(step.target, seconds)
            if worker.steps:
                failures += self._send(worker)
        return failures

    def _give_up(self, worker: _Worker, step: Step, failure: PermixError) -> PermixError:
        """Drop the worker's batch; the others go on with theirs."""
        worker.steps.clear()
        self.board.failed(step.target)
        return failure

    def _publish(self, step: Step, facts: dict[str, Any], seconds: float) -> Head:
        """Record, render, commit; the Hub shows all of it or nothing."""
        out = self._folder(step) / "out"
        described = run_record.describe_files(out)
        cost = {"seconds": round(seconds, 1), **facts.pop("cost", {})}
        inputs = {
            n: {"repo": h.repo, "revision": h.sha, "content_digest": h.content_digest} for n, h in step.sources.items()
        }
        assert step.digest is not None
        record = run_record.record(
            stage=step.stage,
            version=step.module.VERSION,
            target=step.target,
            config=step.config,
            digest=step.digest,
            inputs=inputs,
            facts=facts,
            cost=cost,
            described=described,
            content=run_record.content_digest(out, described),
        )
        record |= {"release": _release(step, self.hub), "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}
        if step.module.CARD:
            files.write_bytes(out / "README.md", cards.render(step.module.CARD, record).encode())
        files.write_json(out / run_record.RECORD, record)
        sha = self.hub.publish(step.target, out, f"{step.stage}: {step.digest[:12]}", step.head)
        step.fresh = False
        step.head = self.hub.head(f"{step.target}@{sha}")
        assert step.head is not None
        self._finish(step, step.head)
        return step.head

    def _finish(self, step: Step, head: Head) -> None:
        """Do what a kill may have cut off after the commit: the tag, results onto cards, the end of the work folder."""
        assert head.record is not None
        release = str(head.record["release"])
        if release not in self.hub.tags(step.target):
            self.hub.tag(step.target, release, head.sha)
        for target, results in head.record["facts"].get("annotations", {}).items():
            annotate(self.hub, target, results)
        self._branches.close(step, self._folder(step) / "work")
        shutil.rmtree(self._folder(step), ignore_errors=True)

    def _folder(self, step: Step) -> Path:
        assert step.digest is not None
        folder = self.work / step.stage / step.digest[:32]
        (folder / "work").mkdir(parents=True, exist_ok=True)
        return folder


def annotate(hub: Hub, target: str, results: Any) -> None:
    """Put results onto an artifact's card: the only function that commits a card alone."""
    head = hub.head(target)
    if head and head.record:
        module = stages.get(head.record["stage"])
        card = cards.render(module.CARD, dict(head.record), results=results)
        hub.write_card(head, card, eval_results.files(hub, results["rows"]))


def _batches(ready: Sequence[Step], idle: int) -> list[list[Step]]:
    """At most `idle` batches: steps of one group together, split only while workers would stand idle."""
    groups: dict[Any, list[Step]] = {}
    for step in ready:
        group = getattr(step.module, "group", None)
        groups.setdefault((step.stage, group(step.config)) if group else (step.target,), []).append(step)
    batches = list(groups.values())
    while 0 < len(batches) < idle and len(longest := max(batches, key=len)) > 1:
        half = len(longest) // 2
        batches.append(longest[half:])
        del longest[half:]
    return batches[: max(idle, 0)]


def _release(step: Step, hub: Hub) -> str:
    """The next semver tag: the stage's VERSION is the major number, every publication a minor one."""
    major = step.module.VERSION
    taken = [
        int(t.split(".")[1])
        for t in (hub.tags(step.target) if step.head else {})
        if re.fullmatch(rf"v{major}\.\d+\.\d+", t)
    ]
    return f"v{major}.{max(taken, default=-1) + 1}.0"


def _death(worker: _Worker) -> str:
    code = worker.child.wait()
    why = f"was killed by signal {-code} (out of memory?)" if code < 0 else f"ended with code {code}"
    return f"The worker that made {worker.steps[0].target} {why}: run again to continue."


@contextmanager
def _only_one(work: Path) -> Iterator[int]:
    """Refuse a second run on the same work folder; the lock ends with its holders."""
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
