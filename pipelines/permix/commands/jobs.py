"""permix jobs: list, follow, print and cancel the Jobs that `--on jobs` started on a Hub."""

import sys
from typing import Annotated

import typer

from permix.automation.jobs import follow, submit
from permix.commands import options
from permix.publishing import hub as hubs

app = typer.Typer()
Id = Annotated[str, typer.Argument(metavar="ID", help="Job id, from `permix jobs`.")]


@app.callback(invoke_without_command=True)
def list_(context: typer.Context, hub_url: options.HubUrl = None) -> None:
    """Follow or cancel the Jobs of permix on the Hub. Without a command, list them, the newest first."""
    if context.invoked_subcommand:
        return
    hub = hubs.connect(hub_url)
    noted, jobs = submit.noted(hub), follow.every(hub)
    if not jobs:
        print(f"There are no Jobs of permix on {hub.endpoint}: `--on jobs` starts one.", file=sys.stderr)
    for job in jobs:
        words = noted.get(job.id, {}).get("arguments") or [(job.labels or {}).get("stage", "")]
        created = f"{job.created_at:%Y-%m-%d %H:%M}" if job.created_at else ""
        print(f"{job.id}  {job.status.stage:10}  {job.flavor:12}  {created}  permix {' '.join(words)}")


@app.command()
def attach(job_id: Id, hub_url: options.HubUrl = None) -> None:
    """Follow a Job's log to its end; exit code 1 if it fails. Ctrl-C leaves the Job running."""
    hub = hubs.connect(hub_url)
    follow.to_the_end(follow.find(hub, job_id), hub)


@app.command()
def logs(job_id: Id, hub_url: options.HubUrl = None) -> None:
    """Print a Job's log so far."""
    hub = hubs.connect(hub_url)
    job = follow.find(hub, job_id)
    with hub.sentences(f"read the log of Job {job_id}"):
        for line in hub.api.fetch_job_logs(job_id=job.id, namespace=job.owner.name):
            print(line)


@app.command()
def cancel(job_id: Id, hub_url: options.HubUrl = None) -> None:
    """Cancel a Job. Published artifacts stay; the same command resumes."""
    hub = hubs.connect(hub_url)
    job = follow.find(hub, job_id)
    with hub.sentences(f"cancel Job {job_id}"):
        hub.api.cancel_job(job_id=job.id, namespace=job.owner.name)
    print(f"{job_id} {follow.inspect(hub, job.owner.name, job_id).status.stage}")
