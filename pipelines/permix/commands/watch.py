"""permix watch: evaluate adapters by themselves whenever they are pushed, and show how that stands."""

import json
import os
import sys
import urllib.request
from collections.abc import Sequence
from http.client import HTTPException
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from permix.commands import options
from permix.errors import BadInput

if TYPE_CHECKING:
    from huggingface_hub import WebhookInfo

    from permix.automation.ci.request import Request
    from permix.publishing.hub import Hub

Adapters = Annotated[list[str] | None, typer.Argument(metavar="ADAPTER", help="org/name on the Hub.")]
By = Annotated[
    Literal["relay", "job"],
    typer.Option("--by", help="Through the Space permix-relay and GitHub's workflow evaluate, or in a Job of the Hub."),
]
Url = Annotated[str, typer.Option("--url", help="A relay that runs already; its secret is in PERMIX_WEBHOOK_SECRET.")]
GitHub = Annotated[
    str, typer.Option("--github", envvar="GITHUB_REPOSITORY", metavar="OWNER/NAME", help="Whose workflow evaluates.")
]
Org = Annotated[str, typer.Option("--org", envvar="PERMIX_ORG", help="The organisation that the sweeps are for.")]
Recipe = Annotated[str, typer.Option("--recipe", "-r", envvar="PERMIX_RECIPE", help="Settings of the sweeps of Jobs.")]


def watch(
    adapters: Adapters = None,
    by: By = "job",
    url: Url = "",
    github: GitHub = "",
    remove: Annotated[bool, typer.Option("--remove", help="Watch them no longer.")] = False,
    now: Annotated[
        bool, typer.Option("--now", help="Only evaluate them here, where they are new: what a webhook's Job runs.")
    ] = False,
    org: Org = "permix",
    recipe: Recipe = "laptop",
    benchmark: Annotated[list[str] | None, typer.Option("--benchmark", help="For Jobs: what to measure on.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=0, help="For Jobs: problems of each benchmark, 0 for all.")] = 20,
    flavor: options.Flavor = "cpu-basic",
    timeout: options.Timeout = "4h",
    max_cost: options.MaxCost = None,
    hub_url: options.HubUrl = None,
    work: options.Work = None,
) -> None:
    """Evaluate adapters whenever their weights change. Without adapters: show what is watched and was evaluated."""
    from permix.automation import watch as watching
    from permix.automation.ci import request as requests
    from permix.publishing import hub as hubs

    os.environ |= {"PERMIX_ORG": org, "PERMIX_RECIPE": recipe}
    texts = {"runner": "self-hosted", "limit": str(limit)}
    texts |= {"benchmarks": ",".join(benchmark)} if benchmark else {}
    wanted = [requests.checked(texts | {"adapter": adapter}) for adapter in adapters or []]
    place = hubs.connect(hub_url)
    if not wanted:
        _show(place, org)
    elif remove:
        _remove([one.adapter for one in wanted], org, place)
    elif now:
        where = [*(["--hub", hub_url] if hub_url else []), *(["--work", str(work)] if work else [])]
        for one in wanted:
            print(watching.now(one, org, where, place))
    elif by == "relay":
        for one in wanted:
            requests.complete(one, place)
        address = watching.by_relay([one.adapter for one in wanted], org, url, github, place)
        print(f"{', '.join(one.adapter for one in wanted)}: pushes go to the relay {address}")
    else:
        place.check_write(org)
        for one in wanted:
            _by_job(one, org, recipe, flavor, timeout, max_cost, place)


def _by_job(
    one: "Request", org: str, recipe: str, flavor: str, timeout: str, max_cost: float | None, place: "Hub"
) -> None:
    """Check the adapter and the price of one evaluation, then set its Job and webhook up."""
    from permix.automation import watch as watching
    from permix.automation.ci import request as requests
    from permix.automation.jobs import price, submit

    found, _ = requests.complete(one, place)
    on = price.flavor(flavor, place)
    cost = price.check(on, [[requests.sweep_of(found, place)]], timeout, max_cost, place)
    print(f"Every evaluation: {cost}", file=sys.stderr)
    name, contents = submit.travelling(recipe)
    words = ["watch", one.adapter, "--now", "--org", org, "--recipe", name, "--limit", str(one.limit)]
    words += [word for benchmark in one.benchmarks for word in ("--benchmark", benchmark)]
    command = submit.Command(org, tuple(words), contents, {}, ("train",))
    job = watching.by_job(one.adapter, command, place, flavor, price.seconds(timeout))
    print(f"{one.adapter}: pushes start a Job like {job.id}, which evaluates it now")


def _remove(adapters: Sequence[str], org: str, place: "Hub") -> None:
    from permix.automation import watch as watching

    gone = watching.remove(adapters, org, place)
    for adapter in adapters:
        if adapter not in gone:
            raise BadInput(f"{adapter} is not watched: `permix watch` shows what is.")
        print(f"{adapter}: watched no longer")


def _show(place: "Hub", org: str) -> None:
    """Every watched adapter: how, whether its webhook works, what the relay says, and the last evaluation."""
    from permix.automation import watch as watching

    webhooks = watching.ours(place)
    if not webhooks:
        print("Nothing is watched: `permix watch org/adapter` begins.")
    for one in webhooks:
        how = f"relay {watching.relay_of(one)}" if one.url else f"Job on {one.job.flavor if one.job else ''}"
        state = _relay_says(one) if one.url else {}
        for adapter in watching.names_of(one):
            head = watching.evaluated(adapter, org, place)
            last = f"{head.repo}@{head.sha[:12]} of {head.record['created']}" if head and head.record else "none yet"
            switched = "disabled" if one.disabled else "enabled"
            print(f"{adapter}  by {how}, {switched}{state.get(adapter, '')}; last evaluation: {last}")


def _relay_says(one: "WebhookInfo") -> dict[str, str]:
    """What the relay tells of each adapter, as the end of a sentence."""
    from permix.automation import watch as watching

    try:
        with urllib.request.urlopen(watching.relay_of(one), timeout=20) as answer:  # noqa: S310 - from our webhook
            rows = json.load(answer)["watched"]
        return {row["adapter"]: f", sent on: {row['revision'] or 'nothing'}" for row in rows}
    except (OSError, HTTPException, ValueError, KeyError, TypeError):
        return dict.fromkeys(watching.names_of(one), ", the relay does not answer")
