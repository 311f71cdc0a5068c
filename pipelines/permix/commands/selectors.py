"""permix selectors: choosing or combining personas at inference time, computed from stored sweeps."""

from typing import Annotated, Any

import typer

from permix.commands import options
from permix.errors import BadInput
from permix.pipeline import published
from permix.publishing import hub as hubs
from permix.results.formatting import aligned, decimal

Peers = Annotated[list[str] | None, typer.Argument(metavar="PEER", help="Sweeps of the same model with --peer.")]


def selectors(artifact: options.Artifact, peers: Peers = None, hub_url: options.HubUrl = None) -> None:
    """Measure persona selectors on a sweep: the accuracy of selectors, majorities and oracles.

    Each line has its completions and tokens per problem. The sweeps of peers come last.
    """
    from permix.results.measures import selectors as measure

    hub = hubs.connect(hub_url)
    peer_tables = {name: published.tables(name, hub) for name in peers or []}
    for benchmark, rows in published.tables(artifact, hub).items():
        lines = measure.of_rows(rows)
        for name, tables in peer_tables.items():
            if "peer" not in tables.get(benchmark, [{}])[0] or _grid(tables[benchmark]) != _grid(rows):
                raise BadInput(f"{name} should be a --peer sweep of equal personas, problems and runs on {benchmark}.")
            lines.append(measure.of_peer(tables[benchmark]))
        table = [("selector", "accuracy", "95 % interval", "completions", "tokens")]
        for line in lines:
            ends = f"{line['low']:.3f} to {line['high']:.3f}"
            counts = f"{line['completions']:g}", decimal(line["tokens"], ".0f")
            table.append((line["selector"], f"{line['accuracy']:.3f}", ends, *counts))
        print(f"{benchmark}\n{aligned(table)}")
    print(f"\n{options.text('selectors.txt')}", end="")


def _grid(rows: list[dict[str, Any]]) -> set[tuple[str, str, int]]:
    return {(row["persona"], row["problem_id"], row["run"]) for row in rows}
