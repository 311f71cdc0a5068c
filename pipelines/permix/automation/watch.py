"""Adapters whose pushes start an evaluation: through the Space permix-relay and GitHub, or in a Job of the Hub.

Either way a webhook says no more than "look at this adapter". Whether there is something new is asked from the Hub,
where the sweep's record names the content that was measured; so no webhook that is lost, sent twice or late does harm,
and a push of cards and results alone starts nothing that costs more than a look.
"""

import os
import secrets
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from embedded_hub import launch
from permix import files
from permix.automation.ci import card, github
from permix.automation.ci import request as requests
from permix.automation.ci.request import Request
from permix.automation.jobs import follow, submit
from permix.automation.jobs.submit import Command
from permix.errors import BadInput, PermixError
from permix.pipeline import published
from permix.publishing.hub import Artifact, Hub
from permix.stages import apps

if TYPE_CHECKING:
    from huggingface_hub import JobInfo, WebhookInfo

RELAY = "permix-relay"
PATH = "/webhook?by=permix"
"""Of the relay; the query tells our webhooks from others."""
START_SECONDS = 600
"""That the relay's Space has until it runs."""


def ours(hub: Hub) -> list["WebhookInfo"]:
    """The webhooks that permix made."""
    with hub.sentences("list your webhooks"):
        found = hub.api.list_webhooks()
    return [
        one for one in found if (one.url or "").endswith(PATH) or (one.job and (one.job.labels or {}).get("permix"))
    ]


def names_of(one: "WebhookInfo") -> list[str]:
    """The adapters that a webhook watches."""
    return [item.name for item in one.watched]


def by_job(adapter: str, command: Command, hub: Hub, flavor: str, timeout: int) -> "JobInfo":
    """Run `command`, which evaluates the adapter, in a Job now, and in a Job like it after every push."""
    job = submit.submit(command, hub, flavor, timeout)
    before = [one for one in ours(hub) if one.job and names_of(one) == [adapter]]
    with hub.sentences(f"make a webhook for {adapter}"):
        token = {"HF_TOKEN": hub.token or ""}
        hub.api.create_webhook(job_id=job.id, watched=_watched([adapter]), domains=["repo"], secrets=token)
        for old in before:
            hub.api.delete_webhook(old.id)
    return job


def by_relay(adapters: Sequence[str], org: str, url: str, repository: str, hub: Hub) -> str:
    """Send webhooks for the adapters, and those that are watched already, to a relay; its address.

    Without `url` the organisation's own Space is published, with the secrets GITHUB_TOKEN (of this environment) and a
    new one for the webhook; a relay at `url` has its secret from its owner: PERMIX_WEBHOOK_SECRET.
    """
    before = [one for one in ours(hub) if one.url]
    names = list(dict.fromkeys([*(name for one in before for name in names_of(one)), *adapters]))
    secret = os.environ.get("PERMIX_WEBHOOK_SECRET", "") if url else secrets.token_urlsafe(32)
    if not secret:
        raise BadInput("PERMIX_WEBHOOK_SECRET is not set: it should be the secret that the relay expects.")
    address = url or _publish(names, org, repository, secret, hub)
    with hub.sentences(f"make a webhook to {address}"):
        target = address.rstrip("/") + PATH
        hub.api.create_webhook(url=target, watched=_watched(names), domains=["repo"], secret=secret)
        for old in before:
            hub.api.delete_webhook(old.id)
    return address


def remove(adapters: Sequence[str], org: str, hub: Hub) -> list[str]:
    """Watch these adapters no longer; those of them that were watched. A relay without any is paused."""
    found = []
    for one in ours(hub):
        names = names_of(one)
        if gone := [name for name in names if name in adapters]:
            found += gone
            rest = [name for name in names if name not in gone]
            with hub.sentences(f"change the webhook of {', '.join(gone)}"):
                if rest:
                    hub.api.update_webhook(one.id, watched=_watched(rest), domains=one.domains)
                else:
                    hub.api.delete_webhook(one.id)
                if one.url and hub.state(f"spaces/{org}/{RELAY}"):
                    _tell_relay(rest, f"{org}/{RELAY}", hub)
    return found


def _tell_relay(names: Sequence[str], space: str, hub: Hub) -> None:
    if names:
        hub.api.add_space_variable(space, "PERMIX_WATCHED", " ".join(names))
    else:
        hub.api.pause_space(space)


def evaluated(adapter: str, org: str, hub: Hub) -> Artifact | None:
    """The newest sweep of the organisation that measured the adapter."""
    with hub.sentences(f"list the sweeps of {org}"):
        names = [found.id for found in hub.api.list_datasets(author=org, search="permix-sweep-")]
    sweeps = [sweep for name in names if (sweep := hub.artifact(f"datasets/{name}"))]
    of_adapter = [sweep for sweep in sweeps if sweep.record["inputs"].get("adapter", {}).get("repo") == adapter]
    return max(of_adapter, key=lambda sweep: str(sweep.record["created"]), default=None)


def now(request: Request, org: str, place: Sequence[str], hub: Hub) -> str:
    """Measure the adapter and write the numbers onto its card, where something is new; a sentence on what was done."""
    if job := os.environ.get("JOB_ID"):
        follow.take_turn(hub, org, job)
    found, done = requests.complete(request, hub)
    if done:
        return f"{found.adapter}@{found.revision[:12]}: nothing new, {done}."
    if hub.token and not hub.embedded:
        os.environ["HF_TOKEN"] = hub.token  # for the one child, which publishes
    made = github.permix("sweep", *found.options, *place).partition("\n")[0]
    return card.write(hub, found.adapter, published.artifact(made, hub))


def _publish(names: Sequence[str], org: str, repository: str, secret: str, hub: Hub) -> str:
    """Publish the relay as a Space that watches `names`; its address. Variables come first: it starts with them."""
    from permix.pipeline import run

    token = os.environ.get("GITHUB_TOKEN", "")
    if not repository or not token:
        raise BadInput(
            "The relay needs a GitHub repository and a token for it: say --github owner/name and set GITHUB_TOKEN, "
            "or name a relay that runs already by --url."
        )
    space = f"{org}/{RELAY}"
    kept = {"PERMIX_WATCHED": " ".join(names), "GITHUB_REPOSITORY": repository}
    kept |= {key: os.environ[key] for key in ("GITHUB_API_URL",) if key in os.environ}
    with hub.sentences(f"set up spaces/{space}"):
        hub.api.create_repo(space, repo_type="space", space_sdk="gradio", exist_ok=True)
        for key, value in kept.items():
            hub.api.add_space_variable(space, key, value)
        for key, value in {"WEBHOOK_SECRET": secret, "GITHUB_TOKEN": token}.items():
            hub.api.add_space_secret(space, key, value)
    run.run_step(apps.STAGE, apps.config(org, RELAY), hub)
    return _address(space, hub)


def _address(space: str, hub: Hub) -> str:
    """Where the Space answers, once it runs; the embedded Hub has to be told to run it."""
    with hub.sentences(f"start spaces/{space}"):
        if hub.embedded:
            launch.allow_jobs(files.home() / "hub")
            hub.api.restart_space(space)
        deadline = time.monotonic() + START_SECONDS
        while (stage := hub.api.get_space_runtime(space).stage) != "RUNNING":
            if stage.endswith("ERROR") or time.monotonic() > deadline:
                raise PermixError(f"spaces/{space} does not run ({stage}): its log on {hub.endpoint} says why.")
            time.sleep(1)
        return str(hub.api.space_info(space).host)


def _watched(names: Sequence[str]) -> list[Any]:
    return [{"type": "model", "name": name} for name in names]


def relay_of(one: "WebhookInfo") -> str:
    """The address of the relay that a webhook of ours calls."""
    return f"{(one.url or '').removesuffix(PATH)}/"
