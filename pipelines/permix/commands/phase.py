"""permix phase: how the effects depend on the toy world's design, from one run of a recipe for each share."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from permix.commands import options, run
from permix.errors import BadInput

Share = Annotated[
    list[float],
    typer.Option("--share", help="Share of weak styles (direct, ramble) without a persona. Default: the recipe's."),
]
Out = Annotated[Path, typer.Option("--out", help="The folder for the diagram and its numbers.")]


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

    It trains a base for each share, and on each RLVR and PerMix-RLVR with three seeds: about 70 minutes on two cores.
    Safe to kill and start again.
    """
    from permix.experiment import phase as diagram
    from permix.pipeline import published, recipes
    from permix.publishing import hub as hubs
    from permix.results.reporting import paper_figures
    from permix.stages import tables

    loaded = recipes.load(recipe, [*overrides, f"shares={share}"] if share else overrides)
    shares = sorted({*loaded.shares})
    if loaded.base != "toy" or not loaded.benchmarks:
        raise BadInput(f"The recipe {loaded.name} does not measure the toy base, whose design the diagram is about.")
    if not shares:
        raise BadInput(
            f"The recipe {loaded.name} has no shares: give --share, or its key shares as recipe phase has it."
        )
    changes = {value: [*overrides, *diagram.overrides(loaded.org, value)] for value in shares}
    for changed in changes.values():
        run.build(recipe, changed, hub_url=hub_url, workers=workers, work=work, processes=processes)
    rows = []
    for value, changed in changes.items():
        (config,) = tables.configs(recipes.load(recipe, changed))
        artifact = published.artifact(tables.target(config), hubs.connect(hub_url))
        rows += diagram.points(value, artifact.record["facts"])
    paper_figures.phase(rows, out / "phase")
    print("\n".join(as_text(rows)))
    print(f"\nPicture: {out / 'phase.png'}")


def as_text(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The diagram's numbers as lines for a terminal."""
    lines = [f"{'benchmark':<16} {'weak':>5}  {'variant':<12} {'PSS':>6} {'voice':>6} {'lead':>6}"]
    for row in rows:
        pss, voice, lead = ("-" if row[name] is None else f"{row[name]:.3f}" for name in ("pss", "voice", "lead"))
        lines.append(f"{row['benchmark']:<16} {row['share']:5.2f}  {row['variant']:<12} {pss:>6} {voice:>6} {lead:>6}")
    return [
        *lines,
        "lead: PSS of PerMix-RLVR less RLVR's.",
        "The size of every effect follows from this share: a choice of whoever designs the toy world.",
    ]
