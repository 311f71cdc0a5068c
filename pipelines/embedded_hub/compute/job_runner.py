"""Start Jobs, a few at a time, and record how they end. They outlive this server, and the next one resumes watching."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from embedded_hub.compute import supervised_process
from embedded_hub.context import ServerContext, Worker
from embedded_hub.database.jobs import Job
from embedded_hub.database.webhooks import Delivery, Webhook
from embedded_hub.errors import HubError
from embedded_hub.events.deliver import job_environment
from embedded_hub.store.buckets import BUCKETS

TICK, IDLE = 0.1, 30.0
PYTHONS = ("python", "python3")


class JobRunner(Worker):
    """Run the Jobs of a server, at most `at_once` at a time. They outlive this thread."""

    def __init__(self, context: ServerContext, at_once: int | None = None) -> None:
        super().__init__("jobs", context, context.jobs.changed)
        self.at_once = at_once or max(1, (os.cpu_count() or 1) // 2)
        self._supervisors: dict[str, subprocess.Popen[bytes]] = {}

    def step(self) -> float:
        """Record ended Jobs and start waiting ones."""
        jobs = self._context.jobs
        for job in jobs.in_stage("RUNNING"):
            self._record_end(job)
        room = self.at_once - len(jobs.in_stage("RUNNING")) if self._context.allowed.runs_jobs() else 0
        for job in jobs.in_stage("SCHEDULING")[: max(room, 0)]:
            if jobs.begin(job):
                self._start(job)
        return TICK if jobs.busy() else IDLE

    def _start(self, job: Job) -> None:
        folder, spec = self._context.jobs.folder(job), job.spec
        command, environment, note = _command(self._context, job, folder)
        limits = (spec["timeoutSeconds"], spec["attempts"])
        self._supervisors[job.id] = supervised_process.start(folder, command, environment, *limits, (note,))

    def _record_end(self, job: Job) -> None:
        folder, supervisor = self._context.jobs.folder(job), self._supervisors.get(job.id)
        if supervisor.poll() is None if supervisor else supervised_process.alive(folder):
            return
        self._supervisors.pop(job.id, None)
        self._context.jobs.end(job, *supervised_process.result(folder))


def submit(context: ServerContext, namespace: str, spec: dict[str, object], initiator: dict[str, str]) -> Job:
    """Enter a Job; 403 if this server does not run code."""
    check_allowed(context)
    return context.jobs.add(namespace, spec, initiator)


def check_allowed(context: ServerContext) -> None:
    """Refuse with 403 unless this server runs code."""
    if not context.allowed.runs_jobs():
        advice = "start it with `--jobs` (`permix hub serve --jobs`), or run a stage with `--on jobs`"
        raise HubError(403, f"This embedded Hub does not run Jobs and Spaces, because they execute code: {advice}.")


def cancel(context: ServerContext, job: Job) -> None:
    """End a Job: at once if it waits, within a few seconds if it runs."""
    if not context.jobs.end(job, "CANCELED", None, was="SCHEDULING"):
        supervised_process.end(context.jobs.folder(job))


def start_for(context: ServerContext, webhook: Webhook, delivery: Delivery) -> str:
    """Start the Job of a webhook; return its name for the list of deliveries."""
    assert webhook.job
    variables, secrets = job_environment(webhook, delivery.body)
    spec = webhook.job["spec"]
    spec = spec | {"environment": spec["environment"] | variables, "secrets": spec["secrets"] | secrets}
    try:
        job = submit(context, webhook.job["namespace"], spec, {"type": "webhook", "id": webhook.id})
    except HubError as error:
        raise ValueError(error.message) from None
    return f"job {job.id}"


def _command(context: ServerContext, job: Job, folder: Path) -> tuple[list[str], dict[str, str], str]:
    """Return the command and environment for this machine, and the first line of the log."""
    spec = job.spec
    translate = _path_translation(context, spec["volumes"])
    command = [translate(word) for word in (*spec["command"], *spec["arguments"])]
    variables = {key: translate(value) for key, value in spec["environment"].items()}
    environment = supervised_process.base_environment(context, folder) | variables | spec["secrets"]
    if command[0] in PYTHONS:
        command[0] = sys.executable
    elif command[0] == "uv":
        command[:1] = [sys.executable, "-P", str(supervised_process.HERE / "uv_run.py")]
    image = spec["dockerImage"] or f"the Space {spec['spaceId']}"
    note = f"The embedded Hub runs this job on this machine, with its own Python; the image {image} is not used."
    return command, environment | {"JOB_ID": job.id}, note


def _path_translation(context: ServerContext, volumes: list[dict[str, str]]) -> Callable[[str], str]:
    """Return a function that translates mount paths in a command line or variable to the buckets' folders."""
    folders: dict[str, str] = {}
    for volume in volumes:
        bucket = context.accounts.repo(BUCKETS, *volume["source"].split("/"))
        if bucket:
            folders[volume["mountPath"]] = str(context.buckets.files(bucket) / (volume.get("path") or ""))
    paths = "|".join(re.escape(path) for path in sorted(folders, key=len, reverse=True))
    pattern = re.compile(rf"(?<![\w./-])(?:{paths})(?![\w.-])")
    return lambda text: pattern.sub(lambda match: folders[match[0]], text) if folders else text
