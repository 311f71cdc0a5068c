"""permix recovery: recognise the persona of an answer from its text."""

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from permix.commands import options
from permix.errors import BadInput
from permix.pipeline import published
from permix.publishing import hub as hubs
from permix.results.formatting import aligned


def recovery(
    artifacts: Annotated[list[str], typer.Argument(metavar="ARTIFACT...", help="Sweeps, also imported ones.")],
    trained_on: Annotated[str, typer.Option(metavar="ARTIFACT", help="Sweep to learn from, as the base's.")] = "",
    draws: Annotated[int, typer.Option(min=1, help="Bootstrap resamples.")] = 1000,
    hub_url: options.HubUrl = None,
) -> None:
    """Recognise personas by their answers: the accuracy of a classifier, as fidelity without a judge.

    It learns on other problems of the same sweep, which tells whether the personas differ. With --trained-on it learns
    from another sweep, which tells whether they still sound as in that one.
    """
    from permix.results.measures import recovery as measure

    hub = hubs.connect(hub_url)
    sweeps = {name: published.tables(name, hub) for name in artifacts}
    teacher = published.tables(trained_on, hub) if trained_on else None
    for benchmark in dict.fromkeys(name for tables in sweeps.values() for name in tables):
        if teacher is not None and benchmark not in teacher:
            raise BadInput(f"{trained_on} has no benchmark {benchmark!r}: give --trained-on a sweep that has it.")
        measured = {
            name: measure.across((teacher or tables)[benchmark], tables[benchmark], draws=draws)
            for name, tables in sweeps.items()
            if benchmark in tables
        }
        lines = [("recovery", "95 % interval", "chance", "sweep"), *(_cells(*pair) for pair in measured.items())]
        titles, *table = aligned(lines, left=(3,)).splitlines()
        print(f"{benchmark}\n{titles}")
        for line, recovered in zip(table, measured.values(), strict=True):
            print(f"{line}\n{'':8}{_least(recovered)}")
    if teacher is not None:
        print(f"The classifier learned from {trained_on}.")


def _cells(sweep: str, recovered: Mapping[str, Any] | None) -> tuple[str, str, str, str]:
    if recovered is None:
        return "-", "-", "-", sweep
    ends = f"{recovered['low']:.3f} to {recovered['high']:.3f}"
    return f"{recovered['accuracy']:.3f}", ends, f"{recovered['chance']:.3f}", sweep


def _least(recovered: Mapping[str, Any] | None) -> str:
    """Name the three personas recovered least often, each with the persona that it is most often taken for."""
    if recovered is None:
        return "needs completions of two personas on two problems at least"
    least = sorted(recovered["by_persona"].items(), key=lambda pair: pair[1])[:3]
    mistakes = [(persona, share, recovered["taken_for"][persona]) for persona, share in least]
    texts = [f"{name} {share:.2f}" + (f" (taken for {other})" if other else "") for name, share, other in mistakes]
    return f"least: {', '.join(texts)}"
