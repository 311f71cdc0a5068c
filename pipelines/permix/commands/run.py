"""permix run: build everything missing or stale of a recipe, then print its table."""

import shlex
import sys
from pathlib import Path

from permix.automation.jobs.build import JobTerms
from permix.automation.jobs.build import build as build_in_jobs
from permix.commands import options
from permix.errors import BadInput
from permix.experiment.recipe import Recipe
from permix.pipeline import run as running
from permix.pipeline.plan import Plan, RunRequest, Step
from permix.publishing import collection
from permix.publishing import hub as hubs
from permix.results.reporting.tabular import NO_PSS
from permix.stages import tables


def run(
    recipe: options.Recipe = "toy",
    overrides: options.Set = [],  # noqa: B006 - typer reads the default, nobody changes it
    hub_url: options.HubUrl = None,
    workers: options.Workers = 0,
    fresh: options.Fresh = [],  # noqa: B006
    work: options.Work = None,
    processes: options.Processes = 1,
    on: options.On = "here",
    flavor: options.Flavor = "",
    timeout: options.Timeout = "",
    max_cost: options.MaxCost = None,
    wait: options.Wait = True,
) -> None:
    """Run an experiment: build everything missing or stale, in order. Interrupt it at any time; it resumes."""
    terms = job_terms(on, flavor, timeout, max_cost, wait)
    build(RunRequest(recipe, tuple(overrides), None, tuple(fresh), workers, processes), hub_url, work, terms)


def job_terms(
    on: str, flavor: str, timeout: str, max_cost: float | None, wait: bool, fan_out: str = "none"
) -> JobTerms | None:
    """Return the terms of Jobs; None for a build on this machine, which takes none of the other options."""
    if on == "jobs":
        return JobTerms(flavor or "cpu-basic", timeout or "4h", max_cost, wait, fan_out)
    if flavor or timeout or max_cost is not None or not wait or fan_out != "none":
        raise BadInput("--flavor, --timeout, --max-cost, --detach and --fan-out are for Jobs: add --on jobs.")
    return None


def build(request: RunRequest, hub_url: str | None, work: Path | None, terms: JobTerms | None = None) -> None:
    """Build the artifacts of a request, here or (with `terms`) in Jobs of the Hub; print the result."""
    plans = [Plan.of(part) for part in (request.split(terms.fan_out) if terms else [request])]

    hub = hubs.connect(hub_url)
    for note in running.prepare(plans, hub, request.processes, here=terms is None):
        print(f"Note: {note}", file=sys.stderr)
    if terms is None:
        (plan,) = plans
        workers, processes = request.workers, request.processes
        running.run(plan.steps, plan.foreign, hub, work=work, workers=workers, processes=processes)
    elif not build_in_jobs(plans, terms, hub):
        return
    for plan in plans:
        _show(plan, hub)
        if any(step.stage.name == "apps" for step in plan.steps):
            print(f"Collection: {collection.gather(hub, plan.recipe.org)}")


def _show(plan: Plan, hub: hubs.Hub) -> None:
    last = plan.steps[-1]
    if last.stage.name == "tables":
        _show_tables(last, hub, plan.recipe)
        return
    for step in plan.steps:
        if plan.request.until in (None, step.stage.name):
            print(f"{step.target}@{step.artifact.sha}")
            _show_summary(step.artifact)
    if plan.recipe.note and last.stage.name == "sweep":
        print(f"Note: {plan.recipe.note}", file=sys.stderr)


def _show_summary(artifact: hubs.Artifact) -> None:
    facts = artifact.record["facts"]
    for name, numbers in facts.get("summary", {}).get("benchmarks", {}).items():
        pss = {key: numbers["pss"].get(key) for key in ("worst", "best", "mean", "pss", "pss_null")}
        controls = {control: numbers["accuracy"].get(control) for control in ("none", "helpful")}
        columns = pss | controls | {"voice": numbers["voice"]}
        cells = [f"{key} {value:.3f}" for key, value in columns.items() if value is not None]
        cells += [f"refused by the server: {key} {count}" for key, count in numbers.get("refused", {}).items()]
        print(f"  {name}: {', '.join(cells if numbers['pss']['best'] else [*cells, NO_PSS])}")
    if default := facts.get("default_system"):
        note = "The control none carries the chat template's default system message"
        print(f"Note: {note}: {default}", file=sys.stderr)
    for note in (*facts.get("notes", ()), *facts.get("dialect", ())):
        print(f"Note: {note}", file=sys.stderr)


def _show_tables(step: Step, hub: hubs.Hub, recipe: Recipe) -> None:
    facts = step.artifact.record["facts"]
    print(tables.as_text(facts))
    print(f"\nPicture: {hub.fetch(step.artifact) / 'figures' / 'summary.png'}\n")
    if hub.embedded:
        port = hub.endpoint.rpartition(":")[2]
        print(f"Pages: {_permix()} hub serve --port {port}, then open {hub.endpoint}/{step.target}\n")
    print("Load what was published:")
    pool = recipe.personas_repo.removeprefix("datasets/").partition("@")[0]
    adapter = next(iter(facts["annotations"]), None)
    python = _typed(Path(sys.executable))
    for line in loading_commands(pool, step.config.org, adapter):
        prefix = f"{_permix()} hub exec -- {python}" if hub.embedded else python
        print(f'{prefix} -c "{line}"')


def loading_commands(personas: str, org: str, adapter: str | None) -> list[str]:
    """Return lines of Python that load a pool, an adapter and the metric from the Hub with the stock libraries."""
    pool = f"from datasets import load_dataset; print(load_dataset('{personas}', split='eval')[0])"
    peft = f"from peft import AutoPeftModelForCausalLM as A; print(A.from_pretrained('{adapter}').peft_config)"
    call = "compute(scores=[1, 1, 0, 1], personas=['teacher', 'teacher', 'dumb', 'dumb'])"
    metric = f"import evaluate; print(evaluate.load('{org}/pss').{call}['pss'])"
    return [pool, *([peft] if adapter else []), metric]


def _permix() -> str:
    script = Path(sys.executable).with_name("permix")
    return _typed(script) if script.exists() else "permix"


def _typed(path: Path) -> str:
    return shlex.quote(str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path))
