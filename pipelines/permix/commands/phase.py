"""permix phase: the effects against the design of the toy world, from one run of a recipe for each share."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from permix.commands import options, run
from permix.errors import BadInput
from permix.experiment import phase as diagram
from permix.pipeline import published, recipes
from permix.pipeline.plan import RunRequest
from permix.publishing import hub as hubs
from permix.results.formatting import aligned, decimal
from permix.stages import tables

Share = Annotated[list[float], typer.Option("--share", help="Share of weak styles; by default the recipe's.")]
Out = Annotated[Path, typer.Option("--out", help="Folder for the diagram and its numbers.")]


def phase(
    recipe: options.Recipe = "phase",
    share: Share = [],  # noqa: B006 - typer reads the default, nobody changes it
    overrides: options.Set = [],  # noqa: B006
    hub_url: options.HubUrl = None,
    workers: options.Workers = 0,
    work: options.Work = None,
    processes: options.Processes = 1,
    out: Out = Path("phase"),
) -> None:
    """Draw the toy world's phase diagram: PSS and voice against the share of weak styles in the base's default.

    It trains a base for each share, and RLVR and PerMix-RLVR with three seeds on each: about 70 minutes on two cores.
    Interrupt it at any time; it resumes.
    """
    from permix.results.reporting import paper_figures

    loaded = recipes.load(recipe, [*overrides, f"shares={share}"] if share else overrides)
    if loaded.base != "toy" or not loaded.benchmarks:
        raise BadInput(f"The recipe {loaded.name} does not measure the toy base: the diagram is about its design.")
    if not loaded.shares:
        raise BadInput(f"The recipe {loaded.name} has no shares: give --share, or the key shares as in recipe phase.")
    designs = {value: [*overrides, *diagram.overrides(loaded.org, value)] for value in sorted({*loaded.shares})}
    for changes in designs.values():
        run.build(RunRequest(recipe, tuple(changes), workers=workers, processes=processes), hub_url, work)
    rows = []
    for value, changes in designs.items():
        (config,) = tables.configs(recipes.load(recipe, changes))
        artifact = published.artifact(tables.target(config), hubs.connect(hub_url))
        rows += diagram.points(value, artifact.record["facts"])
    paper_figures.phase(rows, out / "phase")
    print(as_text(rows))
    print(f"\nPicture: {out / 'phase.png'}")


def as_text(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the diagram's numbers for a terminal."""

    table = [("benchmark", "weak", "variant", "PSS", "voice", "lead")]
    for row in rows:
        numbers = [decimal(row[name]) for name in ("pss", "voice", "lead")]
        table.append((row["benchmark"], f"{row['share']:.2f}", row["variant"], *numbers))
    return (
        f"{aligned(table, left=(0, 2))}\nlead: PSS of PerMix-RLVR less RLVR's.\n"
        "The share of weak styles sets the size of every effect: it is a choice in the design of the toy world."
    )
