"""permix overlap: how much of a benchmark stands in a training mixture."""

from typing import Annotated

import typer

from permix import benchmarks
from permix.commands import options
from permix.errors import BadInput


def overlap(
    mixture: Annotated[str, typer.Argument(help="A mixture: datasets/org/permix-mixture-...")],
    benchmark: Annotated[list[str], typer.Option("--benchmark", help="A built-in one, for example gsm8k; repeatable.")],
    hub_url: options.HubUrl = None,
) -> None:
    """Say how many problems of a benchmark share 8 words in a row with a training mixture."""
    sources = [benchmarks.builtin(name) for name in benchmark]

    from permix import parquet
    from permix.pipeline import plan, published
    from permix.publishing import hub as hubs
    from permix.results.measures import overlap as contamination

    place = hubs.connect(hub_url)
    head = published.artifact(mixture, place)
    if head.record["stage"] != "mixtures":
        raise BadInput(f"{head.repo} was made by stage {head.record['stage']}: give a mixture.")
    data = parquet.read(place.fetch(head) / "data" / "train-00000-of-00001.parquet")
    for source in sources:
        folder = place.fetch(plan.foreign_input(source.repo, place, "overlap"), source.files) if source.repo else None
        shared = contamination.of_mixture(data, benchmarks.load(source, folder))
        print(f"{source.name}: {shared['found']} of {shared['test']} problems ({shared['share']:.1%}) share 8 words")
