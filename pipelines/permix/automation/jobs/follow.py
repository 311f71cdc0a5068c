"""Follow a Job to its end: its log on stderr, however often the connection breaks."""

import sys
import time
from typing import TYPE_CHECKING

from permix.automation.jobs import submit
from permix.errors import BadInput, PermixError, Stopped
from permix.publishing.hub import Hub

if TYPE_CHECKING:
    from huggingface_hub import JobInfo

PATIENCE = 60
"""Tries to reach a Hub that does not answer, one a second or more, before a Job is left to itself."""
PASSING = (408, 429, 500, 502, 503, 504)


def to_the_end(job: "JobInfo", hub: Hub) -> None:
    """Print the Job's log and wait for it; raise what it ended with unless it completed. Ctrl-C leaves it running."""
    try:
        with hub.sentences(f"follow Job {job.id}, which goes on, as `permix jobs attach {job.id}` does"):
            ended, said = _follow(job, hub)
    except KeyboardInterrupt:
        raise Stopped(f"detached; Job {job.id} goes on: `permix jobs attach {job.id}` follows it again.") from None
    if ended.status.stage == "COMPLETED":
        return
    why = said or ended.status.message or f"`permix jobs logs {job.id}` says why."
    is_input = str(ended.status.message).endswith(f"exit code: {BadInput.exit_code}")
    raise (BadInput if is_input else PermixError)(f"Job {job.id} ended with {ended.status.stage}: {why}")


def _follow(job: "JobInfo", hub: Hub) -> "tuple[JobInfo, str]":
    """Print each line of the log once; the Job when it is over, and the sentence of permix's error in its log."""
    import httpx2

    seen, failures, said = 0, 0, ""
    while True:
        try:
            lines = hub.api.fetch_job_logs(job_id=job.id, follow=True, namespace=job.owner.name)
            for number, line in enumerate(lines):
                failures = 0  # a Job may say nothing for hours, and proxies cut what is silent
                if number >= seen:
                    seen = number + 1
                    print(line.rstrip("\n"), file=sys.stderr, flush=True)
                    said = line.strip().removeprefix("permix: ") if line.startswith("permix: ") else said
            return hub.api.inspect_job(job_id=job.id, namespace=job.owner.name), said
        except (httpx2.HTTPError, OSError) as error:
            failures += 1
            answer = getattr(error, "response", None)
            if failures == PATIENCE or (answer is not None and answer.status_code not in PASSING):
                raise
            time.sleep(1)


def inspect(hub: Hub, org: str, job_id: str) -> "JobInfo":
    """The Job as the Hub has it now."""
    with hub.sentences(f"look up Job {job_id} of {org}"):
        return hub.api.inspect_job(job_id=job_id, namespace=org)


def find(hub: Hub, job_id: str) -> "JobInfo":
    """The Job with this id: of the organisation that was written down, else of any that the token belongs to."""
    if known := submit.noted(hub).get(job_id):
        return inspect(hub, known["org"], job_id)
    for org in hub.namespaces()[0]:
        try:
            return inspect(hub, org, job_id)
        except PermixError:
            continue
    raise BadInput(f"There is no Job {job_id} on {hub.endpoint}: `permix jobs` lists yours.")


def ours(hub: Hub) -> list["JobInfo"]:
    """All Jobs of permix that the token can see, the newest first."""
    orgs = dict.fromkeys([*(job["org"] for job in submit.noted(hub).values()), *hub.namespaces()[0]])
    found: dict[str, JobInfo] = {}
    for org in orgs:
        with hub.sentences(f"list the Jobs of {org}"):
            found |= {job.id: job for job in hub.api.list_jobs(labels=submit.OURS, namespace=org)}
    return sorted(found.values(), key=lambda job: str(job.created_at), reverse=True)


def take_turn(hub: Hub, org: str, job_id: str) -> None:
    """Wait, inside the Job `job_id`, for the Jobs with the same command that have begun before it."""
    me = inspect(hub, org, job_id)
    same = submit.OURS | {"command": (me.labels or {}).get("command", "")}
    while True:
        with hub.sentences(f"list the Jobs of {org}"):
            running = list(hub.api.list_jobs(labels=same, status="RUNNING", namespace=org))
        if not any((str(job.started_at), job.id) < (str(me.started_at), me.id) for job in running):
            return
        time.sleep(5)
