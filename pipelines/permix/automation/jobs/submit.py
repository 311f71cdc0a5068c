"""Start a command in a Job, or find the Job in which it runs already."""

import hashlib
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from embedded_hub import launch
from permix import files, run_record
from permix.automation.jobs import bundle
from permix.publishing.hub import Hub

if TYPE_CHECKING:
    from huggingface_hub import JobInfo

REPOSITORY = "permix-jobs"
"""The private dataset of an organisation that holds the bundles of its Jobs."""
OURS = {"permix": "1"}
"""The label of every Job of permix; `command` is the digest of what it runs, `stage` its first word."""
ACTIVE = ("SCHEDULING", "RUNNING")
BOOT = Path(__file__).with_name("boot.py")


@dataclass(frozen=True)
class Command:
    """`permix <arguments>` in a folder with `contents`; `secrets` go to the Hub as such, and nowhere else."""

    org: str
    arguments: tuple[str, ...]
    contents: Mapping[str, bytes]
    secrets: Mapping[str, str]
    extras: tuple[str, ...]

    @property
    def digest(self) -> str:
        """What makes it the same command again: its words and files, not the hardware or the version of permix."""
        named = {name: hashlib.sha256(data).hexdigest() for name, data in self.contents.items()}
        return hashlib.sha256(json.dumps([self.org, self.arguments, named], sort_keys=True).encode()).hexdigest()[:32]


def travelling(recipe: str) -> tuple[str, dict[str, bytes]]:
    """The recipe's name in a Job, and its file where it is one of the user's own."""
    path = Path(recipe)
    return (path.name, {path.name: path.read_bytes()}) if recipe.endswith(".toml") else (recipe, {})


def start(command: Command, hub: Hub, flavor: str, timeout: int) -> "JobInfo":
    """The Job that runs `command`: the one that is under way, else a new one. It is written down before anything else.

    Two of these commands at once on this machine start one Job.
    """
    with launch.locked(folder() / f"{command.digest}.lock"):
        if running := active(hub, command.org, command.digest):
            print(f"This command runs already, in Job {running.id}.", file=sys.stderr)
            return running
        return submit(command, hub, flavor, timeout)


def submit(command: Command, hub: Hub, flavor: str, timeout: int, **more: str) -> "JobInfo":
    """A new Job, with `more` labels."""
    if hub.embedded:
        launch.allow_jobs(files.home() / "hub")
    path = _upload(command, hub)
    with hub.sentences(f"start a Job on {flavor}"):
        job = hub.api.run_job(
            image=f"python:{sys.version_info.major}.{sys.version_info.minor}",
            command=["python", "-c", BOOT.read_text(encoding="utf-8"), path],
            env=_environment(hub),
            secrets={"HF_TOKEN": hub.token, **command.secrets},
            flavor=flavor,
            timeout=timeout,
            labels=OURS | {"command": command.digest, "stage": command.arguments[0]} | more,
            namespace=command.org,
        )
    note(job, hub, command)
    return job


def active(hub: Hub, org: str, digest: str) -> "JobInfo | None":
    """The Job of `org` that runs the command with this digest."""
    with hub.sentences(f"list the Jobs of {org}"):
        jobs = list(hub.api.list_jobs(labels=OURS | {"command": digest}, namespace=org))
    return next((job for job in jobs if job.status.stage in ACTIVE), None)


def note(job: "JobInfo", hub: Hub, command: Command) -> None:
    """Write down that the Job is ours, so that it is found when this process is gone."""
    kept = {"id": job.id, "org": command.org, "hub": hub.endpoint, "arguments": list(command.arguments)}
    files.write_json(folder() / f"{job.id}.json", kept)


def noted(hub: Hub) -> dict[str, dict[str, Any]]:
    """{id: what `note` wrote} of this Hub's Jobs."""
    found = [json.loads(path.read_text(encoding="utf-8")) for path in folder().glob("*.json")]
    return {str(job["id"]): job for job in found if job["hub"] == hub.endpoint}


def folder() -> Path:
    """Where Jobs are written down."""
    found = files.home() / "jobs"
    found.mkdir(parents=True, exist_ok=True)
    return found


def _upload(command: Command, hub: Hub) -> str:
    """The path of the command's bundle at its commit; the same bundle again makes no new commit."""
    from huggingface_hub import CommitOperationAdd

    place = ["--hub", hub.endpoint]
    if hub.embedded:  # it works beside us: in a folder of its own, since another run may hold ours
        place = ["--work", str(files.home() / "work" / "jobs" / command.digest)]
    data = bundle.make([*command.arguments, *place], command.contents, command.extras)
    repo, name = f"{command.org}/{REPOSITORY}", f"{command.digest}.zip"
    with hub.sentences(f"upload what the Job needs to datasets/{repo}"):
        hub.api.create_repo(repo, repo_type="dataset", private=True, exist_ok=True)
        added = [CommitOperationAdd(name, data)]
        message = f"permix {command.arguments[0]}"
        commit = hub.api.create_commit(repo, added, commit_message=message, repo_type="dataset")
    return f"/datasets/{repo}/resolve/{commit.oid}/{name}"


def _environment(hub: Hub) -> dict[str, str]:
    """What a Job should know that is no secret."""
    code = json.dumps(run_record.code())
    place = {"PERMIX_HOME": str(files.home())} if hub.embedded else {"HF_ENDPOINT": hub.endpoint}
    return {"PERMIX_CODE": code, **place}
