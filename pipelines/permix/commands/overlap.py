"""permix overlap: problems of a benchmark in a training mixture."""

from typing import Annotated

import typer

from permix import benchmarks, parquet
from permix.commands import options
from permix.errors import BadInput
from permix.pipeline import plan, published
from permix.publishing import hub as hubs
from permix.results.measures import overlap as measure


def overlap(
    mixture: Annotated[str, typer.Argument(metavar="MIXTURE", help="datasets/org/permix-mixture-…")],
    benchmark: Annotated[list[str], typer.Option(help="A built-in benchmark, such as gsm8k; repeatable.")],
    hub_url: options.HubUrl = None,
) -> None:
    """Count benchmark problems in a training mixture: those that share 8 words in a row with it."""
    sources = [benchmarks.builtin(name) for name in benchmark]

    hub = hubs.connect(hub_url)
    stored = published.artifact(mixture, hub)
    if stored.record["stage"] != "mixtures":
        raise BadInput(f"{stored.repo} was made by stage {stored.record['stage']}: give a mixture.")
    rows = parquet.read(parquet.data_file(hub.fetch(stored), split="train"))
    for source in sources:
        folder = hub.fetch(plan.foreign_input(source.repo, hub, "overlap"), source.files) if source.repo else None
        shared = measure.of_mixture(rows, benchmarks.load(source, folder))
        print(f"{source.name}: {shared['found']} of {shared['test']} problems ({shared['share']:.1%}) share 8 words")
