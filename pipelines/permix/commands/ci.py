"""`permix ci`: the steps of our GitHub workflows, one command each, so that a workflow is a list of commands."""

import json
from typing import Annotated

import typer

from permix import run_record
from permix.automation.ci import card as cards
from permix.automation.ci import drift as drifts
from permix.automation.ci import evaluation, github, publish
from permix.automation.ci import report as reports
from permix.automation.ci.evaluation import EvaluationRequest
from permix.errors import PermixError
from permix.pipeline import published
from permix.publishing import collection as collections
from permix.publishing import hub as hubs

app = typer.Typer(help="Run a step of a GitHub workflow: evaluate, publish, check for drift.", no_args_is_help=True)
HubUrl = Annotated[str, typer.Option("--hub", envvar="HF_ENDPOINT", metavar="URL", help="Address of the Hub.")]
Sweep = Annotated[str, typer.Option(envvar="PERMIX_SWEEP", metavar="ARTIFACT", help="Sweep of `permix ci evaluate`.")]
HUGGING_FACE = "https://huggingface.co"


@app.command()
def request(hub_url: HubUrl = HUGGING_FACE) -> None:
    """Check the workflow's event; output `requests`, a JSON list of the adapters to evaluate."""
    failure: PermixError | None = None
    open_requests = []
    try:
        with github.shown("Evaluation"):
            requests = evaluation.of_event(github.event())
            hub = hubs.connect(hub_url)
            hub.check_write(publish.organisation())
        for request in requests:
            try:
                with github.shown(request.adapter):
                    completed, reason = evaluation.complete(request, hub)
            except PermixError as error:  # the other adapters are evaluated all the same
                failure = error
                continue
            if reason:
                github.annotate("notice", request.adapter, f"Nothing new: {reason}.")
            else:
                open_requests.append(completed.as_json)
            github.summary(f"{github.plain(f'{request.adapter}@{completed.revision}')}: {reason or 'to be evaluated'}")
    finally:
        github.output("requests", f"[{', '.join(open_requests)}]")
    if failure:
        raise failure


@app.command()
def evaluate(
    request: Annotated[str, typer.Option(envvar="PERMIX_REQUEST", metavar="JSON", help="From `permix ci request`.")],
    hub_url: HubUrl = HUGGING_FACE,
) -> None:
    """Run `permix sweep` for one request; output `sweep`, the artifact at its commit."""
    evaluation = EvaluationRequest.of_json(request)
    with github.shown(f"Sweep of {evaluation.adapter}"):
        stdout = github.permix("sweep", *evaluation.arguments, "--hub", hub_url)
        github.output("sweep", stdout.partition("\n")[0])


@app.command()
def card(sweep: Sweep, hub_url: HubUrl = HUGGING_FACE) -> None:
    """Put the numbers of a sweep onto its adapter's card, or propose them in a pull request."""
    with github.shown("Card"):
        hub, artifact = _open(sweep, hub_url)
        sentence = cards.write(hub, artifact.record["inputs"]["adapter"]["repo"], artifact)
        github.annotate("notice", "Card", sentence)
        github.summary(github.plain(sentence))


@app.command()
def report(sweep: Sweep, hub_url: HubUrl = HUGGING_FACE) -> None:
    """Show a sweep on the page of the GitHub job: numbers, a bar for every persona, notices."""
    with github.shown("Report"):
        reports.report(*_open(sweep, hub_url))


@app.command()
def release() -> None:
    """Check that release and package have one version; output `resources`, a JSON list of repositories."""
    with github.shown("Release"):
        version = publish.check_version(github.event())
        github.output("resources", json.dumps(list(publish.steps(publish.organisation()))))
        github.summary(f"permix {version}")


@app.command("publish")
def publish_(
    resource: Annotated[str, typer.Option(envvar="HF_OIDC_RESOURCE", metavar="ARTIFACT", help="Artifact to publish.")],
    hub_url: HubUrl = HUGGING_FACE,
) -> None:
    """Publish one repository of a release: the personas, the metric, or another Space."""
    with github.shown(f"Publish {resource}"):
        artifact = publish.publish(resource, hubs.connect(hub_url))
        github.summary(github.plain(f"{artifact.repo}@{artifact.sha} is {artifact.record['release']}"))


@app.command()
def collection(hub_url: HubUrl = HUGGING_FACE) -> None:
    """Gather the paper and everything that the organisation published in one Collection."""
    with github.shown("Collection"):
        github.summary(collections.gather(hubs.connect(hub_url), publish.organisation()))


@app.command()
def drift(hub_url: HubUrl = HUGGING_FACE) -> None:
    """Load and verify everything published, with the libraries installed here; exit code 1 for a failure."""
    with github.shown("Drift"):
        hub = hubs.connect(hub_url)
        outcomes: dict[str, str | PermixError] = {}
        for artifact in drifts.published(hub, publish.organisation()):
            try:
                outcomes[artifact.repo] = drifts.check(artifact, hub)
            except PermixError as error:
                outcomes[artifact.repo] = error
                github.annotate("error", artifact.repo, str(error))
        github.summary(reports.table(("artifact", "state", "what"), drifts.rows(outcomes)))
        versions = [{"package": name, "version": version} for name, version in run_record.packages().items()]
        github.summary(reports.table(("package", "version"), versions))
        if broken := [repo for repo, outcome in outcomes.items() if isinstance(outcome, PermixError)]:
            raise PermixError(f"{len(broken)} of {len(outcomes)} artifacts no longer hold: {', '.join(broken)}.")


def _open(sweep: str, hub_url: str) -> tuple[hubs.Hub, hubs.Artifact]:
    hub = hubs.connect(hub_url)
    return hub, published.artifact(sweep, hub)
