"""permix import: evaluations by other tools under several system prompts, as a sweep with PSS."""

import shutil
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from permix.commands import options
from permix.errors import BadInput
from permix.pipeline import publication, run
from permix.pipeline.plan import Step, look_up
from permix.publishing import hub as hubs
from permix.results.reporting import tabular
from permix.stages.imported import STAGE, config_of_logs


def import_logs(
    tool: Annotated[str, typer.Argument(metavar="TOOL", help="Writer of the logs: lm-eval, lighteval or inspect.")],
    paths: Annotated[
        list[Path] | None,
        typer.Argument(metavar="LOG", help="Logs, or folders of logs, whose system prompts are permix's personas."),
    ] = None,
    persona: Annotated[
        list[str], typer.Option("--persona", metavar="NAME=PATH", help="Logs under another persona; repeatable.")
    ] = [],  # noqa: B006 - typer reads the default, nobody changes it
    metric: Annotated[str, typer.Option("--metric", help="Score to use if the logs have several.")] = "",
    out: Annotated[Path | None, typer.Option("--out", help="Write the sweep into this new folder.")] = None,
    publish: Annotated[str, typer.Option("--publish", metavar="ORG/NAME", help="Publish the sweep as a dataset.")] = "",
    hub_url: options.HubUrl = None,
) -> None:
    """Import logs of another tool as a sweep: accuracy and PSS over its system prompts, one log or more for each."""
    if publish and (publish.count("/") != 1 or not all(publish.split("/"))):
        raise BadInput(f"--publish {publish!r} should be ORG/NAME.")
    if out and out.exists():
        raise BadInput(f"{out} is there already: give --out a new folder.")
    logs = [*(("", path) for path in paths or []), *map(_named, persona)]
    if not logs:
        raise BadInput("There is nothing to import: give logs, or --persona NAME=PATH.")
    org, name = publish.split("/") if publish else ("local", out.name if out else "sweep")
    config, notes = config_of_logs(org, name, tool, metric, logs)
    for note in notes:
        print(f"Note: {note}", file=sys.stderr)
    step = Step.of(STAGE, config)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "sweep"
        facts = run.in_process(STAGE, step.config, {}, folder, Path(scratch))
        print(tabular.of_sweep(facts["summary"]))
        if publish:
            hub = hubs.connect(hub_url)
            hub.check_write(org)
            look_up([step], hub)
            if step.state == "current":
                publication.finish(step, hub)
            else:
                publication.publish(step, folder, facts, 0.0, hub)
            print(f"{step.target}@{step.artifact.sha}")
        elif out:
            step.settle({})
            publication.write(step, folder, facts, 0.0, f"v{STAGE.version}.0.0")
        if out:
            out.parent.mkdir(parents=True, exist_ok=True)
            shutil.copytree(folder, out)


def _named(text: str) -> tuple[str, Path]:
    name, equals, path = text.partition("=")
    if not equals or not name.strip() or not path:
        raise BadInput(f"--persona {text!r} should be NAME=PATH.")
    return name.strip(), Path(path)
