"""permix selectors: what choosing or combining personas at inference time would bring, from stored sweeps."""

from collections.abc import Iterator
from typing import Annotated, Any

import typer

from permix.commands import options
from permix.errors import BadInput
from permix.pipeline import published

Peers = Annotated[
    list[str] | None,
    typer.Argument(metavar="PEER", help="Sweeps of the same model, made with `permix sweep --peer`."),
]


LEGEND = """\
What choosing or combining personas at inference would reach without training, and what it costs: accuracy is the mean
over problems, completions and tokens are for one problem. To be held against the mean of a trained variant, at one
completion; the paper's introduction says why choosing in advance is hard.
none, helpful: the controls. random: one persona, drawn. chosen: the persona that is best on the other half of the
problems. chosen per problem: the one that is best on this problem in the other runs. majority: the answer given most
often. best of k: an oracle picks the right one of k answers, an upper bound that no real selector reaches."""


def selectors(artifact: options.Artifact, peers: Peers = None, hub_url: options.HubUrl = None) -> None:
    """Say what persona selectors, majorities and oracles reach on a sweep, with completions and tokens beside it.

    Sweeps of its peers, where they are named, stand below.
    """
    from permix.publishing import hub as hubs
    from permix.results.measures import selectors as selecting

    place = hubs.connect(hub_url)
    beside = {name: published.tables(name, place) for name in peers or []}
    for benchmark, table in published.tables(artifact, place).items():
        lines = selecting.of_rows(table)
        for name, tables in beside.items():
            if "peer" not in tables.get(benchmark, [{}])[0] or _grid(tables[benchmark]) != _grid(table):
                raise BadInput(
                    f"{name} is no sweep with --peer of the same personas, problems and runs on {benchmark}: make it."
                )
            lines.append(selecting.of_peer(tables[benchmark]))
        print("\n".join(_shown(benchmark, lines)))
    print(f"\n{LEGEND}")


def _grid(table: list[dict[str, Any]]) -> set[tuple[str, str, int]]:
    return {(row["persona"], row["problem_id"], row["run"]) for row in table}


def _shown(benchmark: str, lines: list[dict[str, Any]]) -> Iterator[str]:
    yield f"{benchmark}\n{'selector':26}{'accuracy':>9}{'95 % interval':>18}{'completions':>13}{'tokens':>9}"
    for line in lines:
        ends = f"{line['low']:.3f} to {line['high']:.3f}"
        tokens = "-" if line["tokens"] is None else f"{line['tokens']:.0f}"
        yield f"{line['selector']:26}{line['accuracy']:9.3f}{ends:>18}{line['completions']:13g}{tokens:>9}"
