"""Starts Jobs, a few at a time, and learns how they end. They outlive this server, and the next one finds them."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from threading import Thread

from embedded_hub.compute import supervised_process
from embedded_hub.context import Hub, log
from embedded_hub.database.jobs import Job
from embedded_hub.database.webhooks import Delivery, Webhook
from embedded_hub.errors import HubError
from embedded_hub.events.deliver import environment as told_by
from embedded_hub.store.buckets import BUCKETS

TICK, IDLE = 0.1, 30.0
PYTHONS = ("python", "python3")


class Foreman(Thread):
    """Runs the jobs of a Hub, at most `at_once` at a time, until `stop`."""

    def __init__(self, hub: Hub, at_once: int | None = None) -> None:
        super().__init__(name="jobs", daemon=True)
        self._hub, self.at_once = hub, at_once or max(1, (os.cpu_count() or 1) // 2)
        self._keepers: dict[str, subprocess.Popen[bytes]] = {}
        self._stopping = False

    def run(self) -> None:
        """Start what waits, note what ended."""
        changed = self._hub.jobs.changed
        while not self._stopping:
            changed.clear()
            try:
                self._look()
            except Exception:
                log.exception("looking after jobs failed")
                time.sleep(1)
            changed.wait(TICK if self._hub.jobs.busy() else IDLE)

    def stop(self) -> None:
        """End; jobs go on."""
        self._stopping = True
        self._hub.jobs.changed.set()

    def _look(self) -> None:
        jobs = self._hub.jobs
        for job in jobs.in_stage("RUNNING"):
            self._note_end(job)
        if not self._hub.allowed.runs_jobs():
            return
        room = self.at_once - len(jobs.in_stage("RUNNING"))
        for job in jobs.in_stage("SCHEDULING")[: max(room, 0)]:
            if jobs.begin(job):
                self._start(job)

    def _start(self, job: Job) -> None:
        folder = self._hub.jobs.folder(job)
        command, environment, note = _order(self._hub, job, folder)
        spec = job.spec
        self._keepers[job.id] = supervised_process.start(
            folder, command, environment, spec["timeoutSeconds"], spec["attempts"], (note,)
        )

    def _note_end(self, job: Job) -> None:
        folder, keeper = self._hub.jobs.folder(job), self._keepers.get(job.id)
        if keeper.poll() is None if keeper else supervised_process.alive(folder):
            return
        self._keepers.pop(job.id, None)
        self._hub.jobs.end(job, *supervised_process.result(folder))


def submit(hub: Hub, namespace: str, spec: dict[str, object], initiator: dict[str, str]) -> Job:
    """Enter a job; 403 where none are run."""
    check_allowed(hub)
    return hub.jobs.add(namespace, spec, initiator)


def check_allowed(hub: Hub) -> None:
    """403 unless this server runs code."""
    if not hub.allowed.runs_jobs():
        advice = "start it with `permix hub serve --jobs`, or ask for a stage with `--on jobs`"
        raise HubError(403, f"This embedded Hub runs no Jobs and no Spaces, because they are code: {advice}.")


def cancel(hub: Hub, job: Job) -> None:
    """End a job: one that waits at once, one that runs in a few seconds."""
    if not hub.jobs.end(job, "CANCELED", None, was="SCHEDULING"):
        supervised_process.end(hub.jobs.folder(job))


def start_for(hub: Hub, webhook: Webhook, delivery: Delivery) -> str:
    """Start the job of a webhook; says which."""
    assert webhook.job
    told, secret = told_by(webhook, delivery.body)
    spec = webhook.job["spec"]
    spec = spec | {"environment": spec["environment"] | told, "secrets": spec["secrets"] | secret}
    try:
        made = submit(hub, webhook.job["namespace"], spec, {"type": "webhook", "id": webhook.id})
    except HubError as error:
        raise ValueError(error.message) from None
    return f"job {made.id}"


def _order(hub: Hub, job: Job, folder: Path) -> tuple[list[str], dict[str, str], str]:
    """The command and its environment in this machine's terms, and what its log should say first."""
    spec = job.spec
    here = _mounted(hub, spec["volumes"])
    command = [here(word) for word in (*spec["command"], *spec["arguments"])]
    given = {key: here(value) for key, value in spec["environment"].items()}
    environment = supervised_process.base_environment(hub, folder) | given | spec["secrets"] | {"JOB_ID": job.id}
    if command[0] in PYTHONS:
        command[0] = sys.executable
    elif command[0] == "uv":
        command[:1] = [sys.executable, "-P", str(supervised_process.HERE / "uv_run.py")]
    image = spec["dockerImage"] or f"the Space {spec['spaceId']}"
    note = f"The embedded Hub runs this job on this machine, with its own Python; the image {image} is not used."
    return command, environment, note


def _mounted(hub: Hub, volumes: list[dict[str, str]]) -> Callable[[str], str]:
    """What puts a bucket's folder in place of the path where a container would see it.

    A Job here is a process, which sees no mounts: its command line and environment are translated, its files are not.
    """
    folders: dict[str, str] = {}
    for one in volumes:
        bucket = hub.accounts.repo(BUCKETS, *one["source"].split("/"))
        if bucket:
            folders[one["mountPath"]] = str(hub.buckets.files(bucket) / (one.get("path") or ""))
    paths = "|".join(re.escape(path) for path in sorted(folders, key=len, reverse=True))
    pattern = re.compile(rf"(?<![\w./-])(?:{paths})(?![\w.-])")
    return lambda text: pattern.sub(lambda found: folders[found[0]], text) if folders else text
