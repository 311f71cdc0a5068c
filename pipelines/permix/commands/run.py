"""permix run: make what is missing or stale of a recipe, then show its table."""

import os
import shlex
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from permix import chain, files, stages
from permix import recipe as recipes
from permix.chain import Step
from permix.commands import options
from permix.errors import BadInput
from permix.recipe import Recipe

if TYPE_CHECKING:
    from permix.hub import Head, Hub

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
) -> None:
    """Run a whole experiment: make what is missing or stale, in order. Safe to kill and start again."""
    make(recipe, set, hub=hub, workers=workers, fresh=fresh, work=work, processes=processes)


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
) -> None:
    """Bring a recipe's chain, or the part that ends with stage `until`, to the state current; print the result."""
    plan = recipes.load(name, overrides)
    steps = chain.until(chain.build(plan), until)
    if not steps:
        raise BadInput(f"The recipe {plan.name} asks nothing of stage {until}: choose other variants or another base.")
    for stage in fresh:
        stages.get(stage)
    for step in steps:
        step.fresh = step.stage in fresh

    from permix import hub as hubs
    from permix import ranks
    from permix.progress import Board
    from permix.runner import Runner

    ranks.check(steps, processes)
    place = hubs.connect(hub)
    place.check_write(plan.org)
    foreign = chain.resolve_foreign(steps, place)
    chain.look_up(steps, place)
    chain.settle_all(steps, foreign)
    chain.check_packages(steps)
    chain.check_foreign(steps, foreign, place)
    for note in chain.notes(steps):
        print(f"Note: {note}", file=sys.stderr)
    with Board() as board:
        crew = Runner(place, work or files.home() / "work", workers or _workers(), board, processes)
        heads = crew.run(steps, foreign)
    last = steps[-1]
    if last.stage == "tables":
        _show_tables(last, place, plan)
    else:
        for step in steps:
            if until is None or step.stage == until:
                print(f"{step.target}@{heads[step.target].sha}")
                _show_summary(heads[step.target])


def _workers() -> int:
    """One per core; one where there is a GPU, which two trainings would only share."""
    return 1 if shutil.which("nvidia-smi") else os.cpu_count() or 1


def _show_summary(head: "Head") -> None:
    """A sweep's numbers, one line for each benchmark."""
    assert head.record is not None
    for name, found in head.record["facts"].get("summary", {}).get("benchmarks", {}).items():
        shown = {key: found["pss"].get(key) for key in ("worst", "best", "mean", "pss", "pss_null")}
        shown |= {control: found["accuracy"].get(control) for control in ("none", "helpful")} | {
            "voice": found["voice"]
        }
        print(f"  {name}: " + ", ".join(f"{key} {value:.3f}" for key, value in shown.items() if value is not None))


def _show_tables(step: Step, place: "Hub", recipe: Recipe) -> None:
    """Print the table, where its picture is, and three commands that load what was published."""
    from permix.stages import tables

    assert step.head is not None and step.head.record is not None
    print(tables.as_text(step.head.record["facts"]))
    if recipe.note:
        print(f"Note: {recipe.note}")
    print(f"\nPicture: {place.fetch(step.head) / 'figures' / 'summary.png'}\n")
    if place.embedded:
        print(f"Pages: {_permix()} hub serve, then open {place.endpoint}/{step.target}\n")
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
