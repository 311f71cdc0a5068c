"""permix doctor: the abilities of this machine, and advice on what it lacks."""

from typing import Annotated

import typer

from permix.commands import options
from permix.errors import PermixError
from permix.pipeline import machine, plan, recipes
from permix.pipeline.machine import Finding
from permix.publishing import hub as hubs

MARKS = {"ok": "ok", "note": "-", "missing": "MISSING"}
EMBEDDED = Finding(
    "hub",
    "the embedded one, which needs no account",
    advice="to publish for all: --hub https://huggingface.co checks your token and the bases on that Hub.",
)
EXPLANATION = """
These look odd and are normal:
- GRPO's loss begins at 0 and stays near it. The advantages of a group sum to 0 and the first ratio is 1: watch reward.
- clip_ratio is 0. With one update per batch of rollouts, the policy is the one that sampled them: nothing is clipped.
- reward_std is 0 in many groups (frac_reward_zero_std): all 8 completions are right, or all are wrong. Such a group
  teaches nothing. Up to a half is normal. Near 1, the problems are too easy or too hard, or no answer is recognised.
- kl is 0 or missing in the log: beta is 0 (no reference model), or the adapter changes nothing yet.
- completions/clipped_ratio is near 1: the completions are cut before the answer. Raise max_completion_length.
- The reward falls when personas are mixed in: some personas answer worse, and training works on exactly that.
- "Today Date: 26 Jul 2024" is in Llama's prompts: permix pins the date, so that results do not change every day.
- PSS is below 1 although personas change nothing: sampling noise alone lowers it; pss_null is the expected value.
- A benchmark's accuracy differs from the model card's: prompt, sampling and answer rule differ. Compare within a table.
"""


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
        print(EXPLANATION.rstrip())
    lacks = [name for finding in findings if finding.state == "missing" for name in finding.subject.split(", ")]
    if lacks:
        missing = ", ".join(dict.fromkeys(lacks))
        raise PermixError(f"This machine lacks what the recipe {loaded.name} needs: {missing}.")
