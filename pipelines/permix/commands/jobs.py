"""permix jobs: the Jobs that `--on jobs` started on a Hub: list, follow, print, cancel."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from permix.commands import options

if TYPE_CHECKING:
    from permix.publishing.hub import Hub

app = typer.Typer(help="Jobs of the Hub that run permix: list, follow, cancel.")
Id = Annotated[str, typer.Argument(metavar="ID", help="As `permix jobs` shows it.")]


@app.callback(invoke_without_command=True)
def list_(context: typer.Context, hub_url: options.HubUrl = None) -> None:
    """Without a command: every Job of permix that the token can see, the newest first."""
    if context.invoked_subcommand:
        return
    from permix.automation.jobs import follow, submit

    place = _connect(hub_url)
    noted, found = submit.noted(place), follow.ours(place)
    if not found:
        print(f"There is no Job of permix on {place.endpoint}: `--on jobs` starts one.", file=sys.stderr)
    for job in found:
        words = noted.get(job.id, {}).get("arguments") or [(job.labels or {}).get("stage", "")]
        when = f"{job.created_at:%Y-%m-%d %H:%M}" if job.created_at else ""
        print(f"{job.id}  {job.status.stage:10}  {job.flavor:12}  {when}  permix {' '.join(words)}")


@app.command()
def attach(job_id: Id, hub_url: options.HubUrl = None) -> None:
    """Follow a Job's log from its first line to its end; exit code 1 when it failed. Ctrl-C leaves it running."""
    from permix.automation.jobs import follow

    place = _connect(hub_url)
    follow.to_the_end(follow.find(place, job_id), place)


@app.command()
def logs(job_id: Id, hub_url: options.HubUrl = None) -> None:
    """Print what a Job has said until now."""
    from permix.automation.jobs import follow

    place = _connect(hub_url)
    job = follow.find(place, job_id)
    with place.sentences(f"read the log of Job {job_id}"):
        for line in place.api.fetch_job_logs(job_id=job.id, namespace=job.owner.name):
            print(line)


@app.command()
def cancel(job_id: Id, hub_url: options.HubUrl = None) -> None:
    """End a Job. What it has published stays; the same command again goes on from there."""
    from permix.automation.jobs import follow

    place = _connect(hub_url)
    job = follow.find(place, job_id)
    with place.sentences(f"cancel Job {job_id}"):
        place.api.cancel_job(job_id=job.id, namespace=job.owner.name)
    print(f"{job_id} {follow.inspect(place, job.owner.name, job_id).status.stage}")


def _connect(url: str | None) -> "Hub":
    from permix.publishing import hub as hubs

    return hubs.connect(url)
