"""permix watch: evaluate adapters whenever they are pushed, and show their state."""

import os
from typing import Annotated, Literal

import typer

from permix.automation import watch as watching
from permix.automation.ci import evaluation
from permix.commands import options
from permix.errors import BadInput
from permix.publishing import hub as hubs

Adapters = Annotated[list[str] | None, typer.Argument(metavar="ADAPTER", help="org/name on the Hub.")]
By = Annotated[Literal["relay", "job"], typer.Option(help="By the Space permix-relay and GitHub, or by a Job.")]
Url = Annotated[str, typer.Option("--url", help="A running relay; PERMIX_WEBHOOK_SECRET holds its secret.")]
GitHub = Annotated[str, typer.Option(envvar="GITHUB_REPOSITORY", metavar="OWNER/NAME", help="Workflow's repository.")]
Org = Annotated[str, typer.Option("--org", envvar="PERMIX_ORG", help="Organisation that publishes the sweeps.")]
Recipe = Annotated[str, typer.Option("--recipe", "-r", envvar="PERMIX_RECIPE", help="Recipe of the Jobs' sweeps.")]


def watch(
    adapters: Adapters = None,
    by: By = "job",
    url: Url = "",
    github: GitHub = "",
    remove: Annotated[bool, typer.Option("--remove", help="Stop watching these adapters.")] = False,
    now: Annotated[bool, typer.Option("--now", help="Evaluate here and now, if the weights are new.")] = False,
    org: Org = "permix",
    recipe: Recipe = "laptop",
    benchmark: Annotated[list[str] | None, typer.Option(help="Benchmark of the Jobs' sweeps; repeatable.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=0, help="Problems per benchmark in Jobs, 0 for all.")] = 20,
    flavor: options.Flavor = "cpu-basic",
    timeout: options.Timeout = "4h",
    max_cost: options.MaxCost = None,
    hub_url: options.HubUrl = None,
    work: options.Work = None,
) -> None:
    """Evaluate adapters whenever their weights change. Without adapters, list the watched ones."""
    os.environ |= {"PERMIX_ORG": org, "PERMIX_RECIPE": recipe}
    fields = {"runner": "self-hosted", "limit": str(limit)}
    fields |= {"benchmarks": ",".join(benchmark)} if benchmark else {}
    names = adapters or []
    requests = [evaluation.of_texts(fields | {"adapter": name}) for name in names]
    hub = hubs.connect(hub_url)
    if not requests:
        _show(hub, org)
    elif remove:
        removed = watching.remove(names, org, hub)
        for name in names:
            if name not in removed:
                raise BadInput(f"{name} is not watched: `permix watch` lists the watched adapters.")
            print(f"{name}: watched no longer")
    elif now:
        here = [*(["--hub", hub_url] if hub_url else []), *(["--work", str(work)] if work else [])]
        for request in requests:
            print(watching.evaluate(request, org, here, hub))
    elif by == "relay":
        for request in requests:
            evaluation.complete(request, hub)
        address = watching.by_relay(names, org, url, github, hub)
        print(f"{', '.join(names)}: pushes go to the relay {address}")
    else:
        hub.check_write(org)
        for request in requests:
            job = watching.by_job(request, org, recipe, flavor, timeout, max_cost, hub)
            print(f"{request.adapter}: pushes start a Job like {job.id}, which evaluates it now")


def _show(hub: hubs.Hub, org: str) -> None:
    webhooks = watching.webhooks(hub)
    if not webhooks:
        print("Nothing is watched: `permix watch org/adapter` begins.")
    for webhook in webhooks:
        relay = f"relay {watching.relay_address(webhook)}"
        way = relay if webhook.url else f"Job on {webhook.job and webhook.job.flavor}"
        revisions = watching.relayed(webhook) if webhook.url else {}
        for adapter in watching.adapters_of(webhook):
            state = "disabled" if webhook.disabled else "enabled"
            if revisions is None:
                state += ", the relay does not answer"
            elif adapter in revisions:
                state += f", sent on: {revisions[adapter] or 'nothing'}"
            sweep = watching.last_sweep(adapter, org, hub)
            last = f"{sweep.repo}@{sweep.sha[:12]} of {sweep.record['created']}" if sweep else "none yet"
            print(f"{adapter}  by {way}, {state}; last evaluation: {last}")
