"""`permix ci`: the steps of our GitHub workflows, one command each, so that a workflow is a list of commands."""

from typing import TYPE_CHECKING, Annotated

import typer

from permix.automation.ci import github

if TYPE_CHECKING:
    from permix.publishing.hub import Artifact
    from permix.publishing.hub import Hub as Place

app = typer.Typer(help="Steps of GitHub workflows: evaluate, publish, look for drift.", no_args_is_help=True)
Hub = Annotated[str, typer.Option("--hub", envvar="HF_ENDPOINT", metavar="URL", help="The Hub that is meant.")]
Sweep = Annotated[str, typer.Option(envvar="PERMIX_SWEEP", metavar="ARTIFACT", help="The sweep that was made.")]
THE_HUB = "https://huggingface.co"


@app.command()
def request(hub: Hub = THE_HUB) -> None:
    """Check what the workflow's event asks for; output `requests`, a JSON list of what is to be evaluated."""
    from permix.automation.ci import publish
    from permix.automation.ci import request as requests
    from permix.errors import PermixError
    from permix.publishing import hub as hubs

    failed: PermixError | None = None
    wanted = []
    try:
        with github.step("Evaluation"):
            asked = requests.asked(github.event())
            place = hubs.connect(hub)
            place.check_write(publish.organisation())
        for one in asked:
            try:
                with github.step(one.adapter):
                    found, done = requests.complete(one, place)
            except PermixError as error:  # the others are evaluated all the same
                failed = error
                continue
            if done:
                github.annotate("notice", one.adapter, f"Nothing new: {done}.")
            else:
                wanted.append(found.text())
            github.summary(f"{github.plain(f'{one.adapter}@{found.revision}')}: {done or 'to be evaluated'}")
    finally:
        github.output("requests", f"[{', '.join(wanted)}]")
    if failed:
        raise failed


@app.command()
def evaluate(
    request: Annotated[str, typer.Option(envvar="PERMIX_REQUEST", metavar="JSON", help="One of the requests.")],
    hub: Hub = THE_HUB,
) -> None:
    """Make the sweep of one request by `permix sweep`; output `sweep`, its artifact at its commit."""
    from permix.automation.ci import request as requests

    wanted = requests.parse(request)
    with github.step(f"Sweep of {wanted.adapter}"):
        made = github.permix("sweep", *wanted.options, "--hub", hub)
        github.output("sweep", made.partition("\n")[0])


@app.command()
def card(sweep: Sweep, hub: Hub = THE_HUB) -> None:
    """Put the numbers of a sweep onto the card of its adapter, or propose it there by a pull request."""
    from permix.automation.ci import card as cards

    with github.step("Card"):
        place, made = _found(sweep, hub)
        said = cards.write(place, made.record["inputs"]["adapter"]["repo"], made)
        github.annotate("notice", "Card", said)
        github.summary(github.plain(said))


@app.command()
def report(sweep: Sweep, hub: Hub = THE_HUB) -> None:
    """Show a sweep on the page of the job: its numbers, a bar for every persona, and notices."""
    from permix.automation.ci import report as reports

    with github.step("Report"):
        reports.report(*_found(sweep, hub))


@app.command()
def release() -> None:
    """Check that the release has the package's version; output `resources`, a JSON list of what the Hub gets."""
    import json

    from permix.automation.ci import publish

    with github.step("Release"):
        version = publish.check_version(github.event())
        github.output("resources", json.dumps(list(publish.steps(publish.organisation()))))
        github.summary(f"permix {version}")


@app.command("publish")
def publish_(
    resource: Annotated[str, typer.Option(envvar="HF_OIDC_RESOURCE", metavar="ARTIFACT", help="What to publish.")],
    hub: Hub = THE_HUB,
) -> None:
    """Publish one repository of a release: the personas, the metric, or another Space."""
    from permix.automation.ci import publish
    from permix.publishing import hub as hubs

    with github.step(f"Publish {resource}"):
        head = publish.artifact(resource, hubs.connect(hub))
        github.summary(github.plain(f"{head.repo}@{head.sha} is {head.record['release']}"))


@app.command()
def collection(hub: Hub = THE_HUB) -> None:
    """Put everything that the organisation published, and the paper, into one Collection."""
    from permix.automation.ci import publish
    from permix.publishing import collection as collections
    from permix.publishing import hub as hubs

    with github.step("Collection"):
        github.summary(collections.gather(hubs.connect(hub), publish.organisation()))


@app.command()
def drift(hub: Hub = THE_HUB) -> None:
    """Load and verify everything that was published with the libraries installed here; exit 1 where one fails."""
    from permix import run_record
    from permix.automation.ci import drift as drifts
    from permix.automation.ci import publish
    from permix.automation.ci.report import table
    from permix.errors import PermixError
    from permix.publishing import hub as hubs

    with github.step("Drift"):
        place = hubs.connect(hub)
        results: dict[str, str | PermixError] = {}
        for head in drifts.published(place, publish.organisation()):
            try:
                results[head.repo] = drifts.check(head, place)
            except PermixError as error:
                results[head.repo] = error
                github.annotate("error", head.repo, str(error))
        github.summary(table(("artifact", "state", "what"), drifts.rows(results)))
        versions = [{"package": name, "version": version} for name, version in run_record.packages().items()]
        github.summary(table(("package", "version"), versions))
        if broken := [repo for repo, said in results.items() if isinstance(said, PermixError)]:
            raise PermixError(f"{len(broken)} of {len(results)} artifacts no longer hold: {', '.join(broken)}.")


def _found(sweep: str, hub: str) -> "tuple[Place, Artifact]":
    from permix.pipeline import published
    from permix.publishing import hub as hubs

    place = hubs.connect(hub)
    return place, published.artifact(sweep, place)
