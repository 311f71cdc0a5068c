"""Adapters whose pushes start an evaluation: through the Space permix-relay and GitHub, or in a Job of the Hub.

A webhook only names an adapter. The Hub tells whether its weights are new, because the sweep's record names the content
that was measured. So a lost or repeated webhook does no harm, and a push of a card alone costs no evaluation.
"""

import json
import os
import secrets
import sys
import time
import urllib.request
from collections.abc import Sequence
from http.client import HTTPException
from typing import TYPE_CHECKING, Any

from embedded_hub import launch
from permix import files
from permix.automation.ci import card, evaluation, github
from permix.automation.ci.evaluation import EvaluationRequest
from permix.automation.jobs import follow, price, submit
from permix.errors import BadInput, PermixError
from permix.pipeline import published, run
from permix.publishing.hub import Artifact, Hub
from permix.stages import apps

if TYPE_CHECKING:
    from huggingface_hub import JobInfo, WebhookInfo

RELAY = "permix-relay"
PATH = "/webhook?by=permix"
"""The path at the relay; the query marks our webhooks."""
START_SECONDS = 600
"""The time limit for the relay's Space to start."""


def webhooks(hub: Hub) -> list["WebhookInfo"]:
    """Return the webhooks that permix made."""
    with hub.sentences("list your webhooks"):
        every = hub.api.list_webhooks()
    return [w for w in every if (w.url or "").endswith(PATH) or (w.job and (w.job.labels or {}).get("permix"))]


def adapters_of(webhook: "WebhookInfo") -> list[str]:
    """Return the adapters that a webhook watches."""
    return [item.name for item in webhook.watched]


def by_job(
    request: EvaluationRequest, org: str, recipe: str, flavor: str, timeout: str, max_cost: float | None, hub: Hub
) -> "JobInfo":
    """Evaluate the adapter in a Job now, and in a Job like it after every push; print the price of each."""
    completed, _ = evaluation.complete(request, hub)
    steps = [evaluation.planned_sweep(completed, hub)]
    cost = price.check(price.flavor(flavor, hub), [steps], timeout, max_cost, hub)
    print(f"Every evaluation: {cost}", file=sys.stderr)
    name, contents = submit.recipe_file(recipe)
    words = ["watch", request.adapter, "--now", "--org", org, "--recipe", name, "--limit", str(request.limit)]
    words += [word for benchmark in request.benchmarks for word in ("--benchmark", benchmark)]
    command = submit.Command(org, tuple(words), contents, {}, ("train",))
    job = submit.submit(command, hub, flavor, price.seconds(timeout))
    replaced = [webhook for webhook in webhooks(hub) if webhook.job and adapters_of(webhook) == [request.adapter]]
    with hub.sentences(f"make a webhook for {request.adapter}"):
        token = {"HF_TOKEN": hub.token or ""}
        hub.api.create_webhook(job_id=job.id, watched=_watched([request.adapter]), domains=["repo"], secrets=token)
        for webhook in replaced:
            hub.api.delete_webhook(webhook.id)
    return job


def by_relay(adapters: Sequence[str], org: str, url: str, repository: str, hub: Hub) -> str:
    """Send the pushes of these adapters, and of those watched already, to a relay; return its address.

    Without `url`, publish the organisation's own Space, with the secrets GITHUB_TOKEN (from this environment) and a new
    one for the webhook. The owner of a relay at `url` gives its secret: PERMIX_WEBHOOK_SECRET.
    """
    replaced = [webhook for webhook in webhooks(hub) if webhook.url]
    names = list(dict.fromkeys([*(name for webhook in replaced for name in adapters_of(webhook)), *adapters]))
    secret = os.environ.get("PERMIX_WEBHOOK_SECRET", "") if url else secrets.token_urlsafe(32)
    if not secret:
        raise BadInput("PERMIX_WEBHOOK_SECRET is not set: it should be the secret that the relay expects.")
    address = url or _publish(names, org, repository, secret, hub)
    with hub.sentences(f"make a webhook to {address}"):
        target = address.rstrip("/") + PATH
        hub.api.create_webhook(url=target, watched=_watched(names), domains=["repo"], secret=secret)
        for webhook in replaced:
            hub.api.delete_webhook(webhook.id)
    return address


def remove(adapters: Sequence[str], org: str, hub: Hub) -> list[str]:
    """Stop watching these adapters; return those that were watched. Pause a relay that watches none."""
    removed = []
    for webhook in webhooks(hub):
        names = adapters_of(webhook)
        if leaving := [name for name in names if name in adapters]:
            removed += leaving
            remaining = [name for name in names if name not in leaving]
            with hub.sentences(f"change the webhook of {', '.join(leaving)}"):
                if remaining:
                    hub.api.update_webhook(webhook.id, watched=_watched(remaining), domains=webhook.domains)
                else:
                    hub.api.delete_webhook(webhook.id)
                if not webhook.url or not hub.state(f"spaces/{org}/{RELAY}"):
                    continue
                if remaining:
                    hub.api.add_space_variable(f"{org}/{RELAY}", "PERMIX_WATCHED", " ".join(remaining))
                else:
                    hub.api.pause_space(f"{org}/{RELAY}")
    return removed


def last_sweep(adapter: str, org: str, hub: Hub) -> Artifact | None:
    """Return the newest sweep of the organisation that measured the adapter."""
    with hub.sentences(f"list the sweeps of {org}"):
        names = [dataset.id for dataset in hub.api.list_datasets(author=org, search="permix-sweep-")]
    sweeps = [sweep for name in names if (sweep := hub.artifact(f"datasets/{name}"))]
    of_adapter = [sweep for sweep in sweeps if sweep.record["inputs"].get("adapter", {}).get("repo") == adapter]
    return max(of_adapter, key=lambda sweep: str(sweep.record["created"]), default=None)


def evaluate(request: EvaluationRequest, org: str, options: Sequence[str], hub: Hub) -> str:
    """Measure the adapter and write its card unless nothing is new; return a sentence. `options`: of `permix sweep`."""
    if job := os.environ.get("JOB_ID"):
        follow.take_turn(hub, org, job)
    completed, reason = evaluation.complete(request, hub)
    if reason:
        return f"{completed.adapter}@{completed.revision[:12]}: nothing new, {reason}."
    if hub.token and not hub.embedded:
        os.environ["HF_TOKEN"] = hub.token  # for the one child process, which publishes
    sweep = github.permix("sweep", *completed.arguments, *options).partition("\n")[0]
    return card.write(hub, completed.adapter, published.artifact(sweep, hub))


def _publish(names: Sequence[str], org: str, repository: str, secret: str, hub: Hub) -> str:
    token = os.environ.get("GITHUB_TOKEN", "")
    if not repository or not token:
        raise BadInput(
            "The relay needs a GitHub repository and a token for it: say --github owner/name and set GITHUB_TOKEN, "
            "or name a running relay by --url."
        )
    space = f"{org}/{RELAY}"
    variables = {"PERMIX_WATCHED": " ".join(names), "GITHUB_REPOSITORY": repository}
    variables |= {key: os.environ[key] for key in ("GITHUB_API_URL",) if key in os.environ}
    with hub.sentences(f"set up spaces/{space}"):  # before its files, because it starts with them
        hub.api.create_repo(space, repo_type="space", space_sdk="gradio", exist_ok=True)
        for key, value in variables.items():
            hub.api.add_space_variable(space, key, value)
        for key, value in {"WEBHOOK_SECRET": secret, "GITHUB_TOKEN": token}.items():
            hub.api.add_space_secret(space, key, value)
    run.run_step(apps.STAGE, apps.config(org, RELAY), hub)
    return _address(space, hub)


def _address(space: str, hub: Hub) -> str:
    """Return the address of the Space once it runs; on the embedded Hub, start it."""
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


def relay_address(webhook: "WebhookInfo") -> str:
    """Return the address of the relay that a webhook of ours calls."""
    return f"{(webhook.url or '').removesuffix(PATH)}/"


def relayed(webhook: "WebhookInfo") -> dict[str, str] | None:
    """Return {adapter: the commit that the relay sent on, "" for none}; None where the relay does not answer."""
    try:
        with urllib.request.urlopen(relay_address(webhook), timeout=20) as response:  # noqa: S310 - of our webhook
            return {row["adapter"]: row["revision"] or "" for row in json.load(response)["watched"]}
    except (OSError, HTTPException, ValueError, KeyError, TypeError):
        return None
