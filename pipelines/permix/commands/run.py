"""permix run: make what is missing or stale of a recipe, then show its table."""

import os
import shlex
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from permix import files
from permix.asked import Asked, Plan, Terms
from permix.commands import options
from permix.errors import BadInput
from permix.experiment.recipe import Recipe
from permix.pipeline import plan as chain
from permix.pipeline.plan import Step

if TYPE_CHECKING:
    from permix.publishing.hub import Head, Hub

Processes = Annotated[
    int, typer.Option("--processes", min=1, help="Train each adapter in so many processes, one for each GPU.")
]


def run(
    recipe: options.Recipe = "toy",
    set: options.Set = [],  # noqa: B006 - typer reads the default, nobody changes it
    hub: options.Hub = None,
    workers: options.Workers = 0,
    fresh: options.Fresh = [],  # noqa: B006
    work: options.Work = None,
    processes: Processes = 1,
    on: options.On = "here",
    flavor: options.Flavor = "",
    timeout: options.Timeout = "",
    max_cost: options.MaxCost = None,
    wait: options.Wait = True,
) -> None:
    """Run a whole experiment: make what is missing or stale, in order. Safe to kill and start again."""
    terms = terms_of(on, flavor, timeout, max_cost, wait)
    make(recipe, set, hub=hub, workers=workers, fresh=fresh, work=work, processes=processes, terms=terms)


def terms_of(
    on: str, flavor: str, timeout: str, max_cost: float | None, wait: bool, fan_out: str = "none"
) -> Terms | None:
    """How to work in a Job; None for work on this machine, where no other of these options has a meaning."""
    if on == "jobs":
        return Terms(flavor or "cpu-basic", timeout or "4h", max_cost, wait, fan_out)
    if flavor or timeout or max_cost is not None or not wait or fan_out != "none":
        raise BadInput("--flavor, --timeout, --max-cost, --detach and --fan-out are for Jobs: add --on jobs.")
    return None


def make(
    name: str,
    overrides: Sequence[str],
    *,
    until: str | None = None,
    hub: str | None = None,
    workers: int = 0,
    fresh: Sequence[str] = (),
    work: Path | None = None,
    processes: int = 1,
    terms: Terms | None = None,
) -> None:
    """Bring a recipe's chain, or the part that ends with stage `until`, to the state current; print the result.

    With `terms` in Jobs of the Hub.
    """
    asked = Asked(name, tuple(overrides), until, tuple(fresh), workers, processes)
    plans = [Plan.of(part) for part in (asked.parts(terms.fan_out) if terms else [asked])]

    from permix.pipeline import ranks
    from permix.pipeline.runner import Runner
    from permix.progress import Board
    from permix.publishing import collection
    from permix.publishing import hub as hubs

    place = hubs.connect(hub)
    place.check_write(plans[0].recipe.org)
    for plan in plans:
        plan.look(place)
        ranks.check(plan.steps, processes, here=terms is None)
        if terms is None:
            chain.check_packages(plan.steps)
        chain.check_foreign(plan.steps, plan.foreign, place)
    for note in dict.fromkeys(note for plan in plans for note in chain.notes(plan.steps)):
        print(f"Note: {note}", file=sys.stderr)
    if terms is None:
        with Board() as board:
            crew = Runner(place, work or files.home() / "work", workers or _workers(), board, processes)
            crew.run(plans[0].steps, plans[0].foreign)
    else:
        from permix.automation.jobs import steps

        if not steps.make(plans, terms, place):
            return
    for plan in plans:
        _show(plan, place)
        if any(step.stage == "apps" for step in plan.steps):
            print(f"Collection: {collection.gather(place, plan.recipe.org)}")


def _show(plan: Plan, place: "Hub") -> None:
    """The table, or what was asked for and its numbers."""
    last = plan.steps[-1]
    if last.stage == "tables":
        _show_tables(last, place, plan.recipe)
        return
    for step in plan.steps:
        if plan.asked.until in (None, step.stage):
            assert step.head is not None
            print(f"{step.target}@{step.head.sha}")
            _show_summary(step.head)
    if plan.recipe.note and last.stage == "sweep":
        print(f"Note: {plan.recipe.note}", file=sys.stderr)


def _workers() -> int:
    """One per core; one where there is a GPU, which two trainings would only share."""
    return 1 if shutil.which("nvidia-smi") else os.cpu_count() or 1


def _show_summary(head: "Head") -> None:
    """A sweep's numbers, one line for each benchmark."""
    from permix.results.reporting.tabular import NO_PSS

    assert head.record is not None
    for name, found in head.record["facts"].get("summary", {}).get("benchmarks", {}).items():
        shown = {key: found["pss"].get(key) for key in ("worst", "best", "mean", "pss", "pss_null")}
        shown |= {control: found["accuracy"].get(control) for control in ("none", "helpful")} | {
            "voice": found["voice"]
        }
        said = [f"{key} {value:.3f}" for key, value in shown.items() if value is not None]
        print(f"  {name}: {', '.join(said if found['pss']['best'] else [*said, NO_PSS])}")


def _show_tables(step: Step, place: "Hub", recipe: Recipe) -> None:
    """Print the table, where its picture is, and three commands that load what was published."""
    from permix.stages import tables

    assert step.head is not None and step.head.record is not None
    print(tables.as_text(step.head.record["facts"]))
    print(f"\nPicture: {place.fetch(step.head) / 'figures' / 'summary.png'}\n")
    if place.embedded:
        port = place.endpoint.rpartition(":")[2]
        print(f"Pages: {_permix()} hub serve --port {port}, then open {place.endpoint}/{step.target}\n")
    print("Load what was published:")
    pool = recipe.personas_repo.removeprefix("datasets/").partition("@")[0]
    adapter = next(iter(step.head.record["facts"]["annotations"]), None)
    for line in loading_commands(pool, step.config.org, adapter):
        prefix = f"{_permix()} hub exec -- {_python()}" if place.embedded else _python()
        print(f'{prefix} -c "{line}"')


def loading_commands(personas: str, org: str, adapter: str | None) -> list[str]:
    """Python that loads a pool, an adapter and the metric from the Hub with the stock libraries."""
    pool = f"from datasets import load_dataset; print(load_dataset('{personas}', split='eval')[0])"
    peft = f"from peft import AutoPeftModelForCausalLM as A; print(A.from_pretrained('{adapter}').peft_config)"
    call = "compute(scores=[1, 1, 0, 1], personas=['teacher', 'teacher', 'dumb', 'dumb'])"
    metric = f"import evaluate; print(evaluate.load('{org}/pss').{call}['pss'])"
    return [pool, *([peft] if adapter else []), metric]


def _permix() -> str:
    beside = Path(sys.executable).with_name("permix")
    return shlex.quote(_short(beside)) if beside.exists() else "permix"


def _python() -> str:
    return shlex.quote(_short(Path(sys.executable)))


def _short(path: Path) -> str:
    """The path as one would type it here."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
