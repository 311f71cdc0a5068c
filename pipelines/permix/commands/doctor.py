"""permix doctor: the abilities of this machine, and advice on what it lacks."""

from typing import Annotated

import typer

from permix.commands import options
from permix.errors import PermixError
from permix.pipeline import machine, plan, recipes
from permix.publishing import hub as hubs

MARKS = {"ok": "ok", "note": "-", "missing": "MISSING"}
EMBEDDED = machine.Finding(
    "hub",
    "the embedded one, which needs no account",
    advice="to publish for all: --hub https://huggingface.co checks your token and the bases on that Hub.",
)


def doctor(
    recipe: options.Recipe = "toy",
    overrides: options.Set = [],  # noqa: B006 - typer reads the default, nobody changes it
    hub_url: options.HubUrl = None,
    explain: Annotated[bool, typer.Option("--explain", help="Also explain training logs that only look odd.")] = False,
) -> None:
    """Check whether this machine can run a recipe; exit code 1, with advice, if it cannot."""
    loaded = recipes.load(recipe, overrides)
    steps = plan.build(loaded)
    gpus = machine.find_gpus()
    findings = [*machine.hardware(gpus), *machine.packages(gpus), machine.sandbox(), *machine.needs(steps, gpus)]
    findings += machine.disk(steps, hub_url)
    findings += machine.rights(loaded.org, steps, hubs.connect(hub_url)) if hub_url is not None else [EMBEDDED]
    width = max(len(finding.subject) for finding in findings)
    for finding in findings:
        print(f"{MARKS[finding.state]:7}  {finding.subject:{width}}  {finding.description}")
        if finding.advice:
            print(f"{'':{width + 11}}-> {finding.advice}")
    if explain:
        print(f"\n{options.text('training_logs.txt')}", end="")
    lacks = [name for finding in findings if finding.state == "missing" for name in finding.subject.split(", ")]
    if lacks:
        missing = ", ".join(dict.fromkeys(lacks))
        raise PermixError(f"This machine lacks what the recipe {loaded.name} needs: {missing}.")
