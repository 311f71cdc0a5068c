"""Follow a Job to its end and print its log to stderr, also where the connection breaks."""

import sys
import time
from typing import TYPE_CHECKING

from permix.automation.jobs import submit
from permix.errors import BadInput, PermixError, Stopped
from permix.publishing.hub import Hub

if TYPE_CHECKING:
    from huggingface_hub import JobInfo

PATIENCE = 60
"""The number of tries, at least a second apart, to reach a Hub that does not answer."""
PASSING = (408, 429, 500, 502, 503, 504)


def to_the_end(job: "JobInfo", hub: Hub) -> None:
    """Print the Job's log and wait for it; raise its error unless it completed. Ctrl-C leaves it running."""
    try:
        with hub.sentences(f"follow Job {job.id}, which still runs (`permix jobs attach {job.id}` follows it)"):
            ended, error = _follow(job, hub)
    except KeyboardInterrupt:
        raise Stopped(f"detached; Job {job.id} still runs: `permix jobs attach {job.id}` follows it again.") from None
    if ended.status.stage == "COMPLETED":
        return
    reason = error or ended.status.message or f"`permix jobs logs {job.id}` says why."
    is_input = str(ended.status.message).endswith(f"exit code: {BadInput.exit_code}")
    raise (BadInput if is_input else PermixError)(f"Job {job.id} ended with {ended.status.stage}: {reason}")


def _follow(job: "JobInfo", hub: Hub) -> "tuple[JobInfo, str]":
    import httpx2

    printed, failures, last_error = 0, 0, ""
    while True:
        try:
            lines = hub.api.fetch_job_logs(job_id=job.id, follow=True, namespace=job.owner.name)
            for number, line in enumerate(lines):
                failures = 0  # a Job may print nothing for hours, and proxies cut silent connections
                if number >= printed:
                    printed = number + 1
                    print(line.rstrip("\n"), file=sys.stderr, flush=True)
                    last_error = line.strip().removeprefix("permix: ") if line.startswith("permix: ") else last_error
            return hub.api.inspect_job(job_id=job.id, namespace=job.owner.name), last_error
        except (httpx2.HTTPError, OSError) as error:
            failures += 1
            response = getattr(error, "response", None)
            if failures == PATIENCE or (response is not None and response.status_code not in PASSING):
                raise
            time.sleep(1)


def inspect(hub: Hub, org: str, job_id: str) -> "JobInfo":
    """Return the current state of a Job."""
    with hub.sentences(f"look up Job {job_id} of {org}"):
        return hub.api.inspect_job(job_id=job_id, namespace=org)


def find(hub: Hub, job_id: str) -> "JobInfo":
    """Return the Job with this id, of the organisation that was noted or of any that the token belongs to."""
    if noted := submit.noted(hub).get(job_id):
        return inspect(hub, noted["org"], job_id)
    for org in hub.namespaces()[0]:
        try:
            return inspect(hub, org, job_id)
        except PermixError:
            continue
    raise BadInput(f"There is no Job {job_id} on {hub.endpoint}: `permix jobs` lists yours.")


def every(hub: Hub) -> list["JobInfo"]:
    """Return all Jobs of permix that the token can see, the newest first."""
    orgs = dict.fromkeys([*(job["org"] for job in submit.noted(hub).values()), *hub.namespaces()[0]])
    jobs: dict[str, JobInfo] = {}
    for org in orgs:
        with hub.sentences(f"list the Jobs of {org}"):
            jobs |= {job.id: job for job in hub.api.list_jobs(labels=submit.LABELS, namespace=org)}
    return sorted(jobs.values(), key=lambda job: str(job.created_at), reverse=True)


def take_turn(hub: Hub, org: str, job_id: str) -> None:
    """Wait, inside the Job `job_id`, until no older Job runs the same command."""
    own = inspect(hub, org, job_id)
    same = submit.LABELS | {"command": (own.labels or {}).get("command", "")}
    while True:
        with hub.sentences(f"list the Jobs of {org}"):
            running = list(hub.api.list_jobs(labels=same, status="RUNNING", namespace=org))
        if not any((str(job.started_at), job.id) < (str(own.started_at), own.id) for job in running):
            return
        time.sleep(5)
