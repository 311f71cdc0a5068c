"""Start a command of permix in a Job, or find the Job in which it runs already."""

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
LABELS = {"permix": "1"}
"""The label of every Job of permix; beside it are `command` (a digest) and `stage` (the command's first word)."""
ACTIVE = ("SCHEDULING", "RUNNING")
BOOT = Path(__file__).with_name("boot.py")


@dataclass(frozen=True)
class Command:
    """`permix <arguments>` in a folder with the files `contents`; `secrets` are secrets of the Job."""

    org: str
    arguments: tuple[str, ...]
    contents: Mapping[str, bytes]
    secrets: Mapping[str, str]
    extras: tuple[str, ...]

    @property
    def digest(self) -> str:
        """The identity of the command: its words and files, without hardware and version of permix."""
        digests = {name: hashlib.sha256(data).hexdigest() for name, data in self.contents.items()}
        return hashlib.sha256(json.dumps([self.org, self.arguments, digests], sort_keys=True).encode()).hexdigest()[:32]


def recipe_file(recipe: str) -> tuple[str, dict[str, bytes]]:
    """Return the recipe's name in a Job, and {name: content} of its file where it is the user's own."""
    path = Path(recipe)
    return (path.name, {path.name: path.read_bytes()}) if recipe.endswith(".toml") else (recipe, {})


def start(command: Command, hub: Hub, flavor: str, timeout: int) -> "JobInfo":
    """Return the Job that runs `command`, started unless one is active; two such calls at once start one Job."""
    with launch.locked(folder() / f"{command.digest}.lock"):
        if running := active(hub, command.org, command.digest):
            print(f"This command runs already, in Job {running.id}.", file=sys.stderr)
            return running
        return submit(command, hub, flavor, timeout)


def submit(command: Command, hub: Hub, flavor: str, timeout: int) -> "JobInfo":
    """Start a new Job."""
    if hub.embedded:
        launch.allow_jobs(files.home() / "hub")
    path = _upload(command, hub)
    own = {"PERMIX_HOME": str(files.home())} if hub.embedded else {"HF_ENDPOINT": hub.endpoint}
    with hub.sentences(f"start a Job on {flavor}"):
        job = hub.api.run_job(
            image=f"python:{sys.version_info.major}.{sys.version_info.minor}",
            command=["python", "-c", BOOT.read_text(encoding="utf-8"), path],
            env=own | {"PERMIX_CODE": json.dumps(run_record.code())},
            secrets={"HF_TOKEN": hub.token, **command.secrets},
            flavor=flavor,
            timeout=timeout,
            labels=LABELS | {"command": command.digest, "stage": command.arguments[0]},
            namespace=command.org,
        )
    note = {"id": job.id, "org": command.org, "hub": hub.endpoint, "arguments": list(command.arguments)}
    files.write_json(folder() / f"{job.id}.json", note)  # so that later commands find the Job
    return job


def active(hub: Hub, org: str, digest: str) -> "JobInfo | None":
    """Return the Job of `org` that runs the command with this digest."""
    with hub.sentences(f"list the Jobs of {org}"):
        jobs = list(hub.api.list_jobs(labels=LABELS | {"command": digest}, namespace=org))
    return next((job for job in jobs if job.status.stage in ACTIVE), None)


def noted(hub: Hub) -> dict[str, dict[str, Any]]:
    """Return {id: id, org, hub, arguments} of the Jobs that this machine started on the Hub."""
    notes = [json.loads(path.read_text(encoding="utf-8")) for path in folder().glob("*.json")]
    return {str(note["id"]): note for note in notes if note["hub"] == hub.endpoint}


def folder() -> Path:
    """Return the folder of the notes, made where it is missing."""
    path = files.home() / "jobs"
    path.mkdir(parents=True, exist_ok=True)
    return path


def _upload(command: Command, hub: Hub) -> str:
    """Upload the command's bundle; return its path at its commit. The same bundle again makes no new commit."""
    from huggingface_hub import CommitOperationAdd

    options = ["--hub", hub.endpoint]
    if hub.embedded:  # the Job runs on this machine: in a folder of its own, because another run may use ours
        options = ["--work", str(files.home() / "work" / "jobs" / command.digest)]
    data = bundle.make([*command.arguments, *options], command.contents, command.extras)
    repo, name = f"{command.org}/{REPOSITORY}", f"{command.digest}.zip"
    with hub.sentences(f"upload what the Job needs to datasets/{repo}"):
        hub.api.create_repo(repo, repo_type="dataset", private=True, exist_ok=True)
        operations = [CommitOperationAdd(name, data)]
        message = f"permix {command.arguments[0]}"
        commit = hub.api.create_commit(repo, operations, commit_message=message, repo_type="dataset")
    return f"/datasets/{repo}/resolve/{commit.oid}/{name}"
