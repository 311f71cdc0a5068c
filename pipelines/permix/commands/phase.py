"""permix phase: how the effects depend on the toy world's design, from one run of a recipe for each share."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from permix.commands import options, run
from permix.errors import BadInput

STRONG, WEAK = (0.42, 0.24), (0.22, 0.12)
"""The default odds of steps and skim, and of direct and ramble: their ratios are kept, their sums are moved."""

Share = Annotated[
    list[float],
    typer.Option("--share", help="Share of weak styles (direct, ramble) without a persona. Default: the recipe's."),
]
Out = Annotated[Path, typer.Option("--out", help="The folder for the diagram and its numbers.")]


def phase(
    recipe: options.Recipe = "phase",
    share: Share = [],  # noqa: B006 - typer reads the default, nobody changes it
    set: options.Set = [],  # noqa: B006
    hub: options.Hub = None,
    workers: options.Workers = 0,
    work: options.Work = None,
    processes: run.Processes = 1,
    out: Out = Path("phase"),
) -> None:
    """Draw the toy world's phase diagram: PSS and voice against the share of weak styles in the base's default.

    It trains a base for each share, and on each RLVR and PerMix-RLVR with three seeds: about 70 minutes on two cores.
    Safe to kill and start again.
    """
    from permix.pipeline import plan as chain
    from permix.pipeline import recipes
    from permix.publishing import hub as hubs
    from permix.results.reporting import paper_figures
    from permix.stages import tables

    plan = recipes.load(recipe, [*set, f"shares={share}"] if share else set)
    shares = sorted({*plan.shares})
    if plan.base != "toy" or not plan.benchmarks:
        raise BadInput(f"The recipe {plan.name} does not measure the toy base, whose design the diagram is about.")
    if not shares:
        raise BadInput(f"The recipe {plan.name} has no shares: give --share, or its key shares as recipe phase has it.")
    plans = {value: [*set, *overrides(plan.org, value)] for value in shares}
    for changed in plans.values():
        run.make(recipe, changed, hub=hub, workers=workers, work=work, processes=processes)
    rows = []
    for value, changed in plans.items():
        (config,) = tables.configs(recipes.load(recipe, changed))
        head = chain.find(tables.target(config), hubs.connect(hub))
        assert head.record is not None
        rows += points(value, head.record["facts"])
    paper_figures.phase(rows, out / "phase")
    print("\n".join(as_text(rows)))
    print(f"\nPicture: {out / 'phase.png'}")


def overrides(org: str, share: float) -> list[str]:
    """What to change of the recipe for one share: the odds of the world's default, and the org of what is made."""
    odds = [(1 - share) * x / sum(STRONG) for x in STRONG] + [share * x / sum(WEAK) for x in WEAK]
    return [f'org="{org}-weak-{round(100 * share):02}"', f"toy.plain={[round(x, 6) for x in odds]}"]


def points(share: float, facts: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The rows of the diagram at one share, from the facts of its tables; `lead`: PerMix-RLVR's PSS less RLVR's."""
    pair = ("pss", "rlvr", "permix-rlvr")
    leads = {c["benchmark"]: c for c in facts["claims"] if (c["measure"], c["first"], c["second"]) == pair}
    names = [f"{measure}{end}" for measure in ("pss", "voice") for end in ("", "_low", "_high")]
    found = []
    for benchmark, lines in facts["tables"].items():
        for line in lines:
            lead = leads.get(benchmark, {}) if line["variant"] == "permix-rlvr" else {}
            ends = {"lead": lead.get("difference"), "lead_low": lead.get("low"), "lead_high": lead.get("high")}
            where = {"benchmark": benchmark, "variant": line["variant"], "share": share}
            found.append({**where, **{name: line[name] for name in names}, **ends})
    return found


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
