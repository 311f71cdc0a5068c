"""permix recovery: how well the persona can be recovered from the text of the answers of a sweep."""

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from permix.commands import options
from permix.errors import BadInput
from permix.pipeline import published


def recovery(
    artifacts: Annotated[list[str], typer.Argument(metavar="ARTIFACT...", help="Sweeps, imported ones too.")],
    trained_on: Annotated[
        str,
        typer.Option("--trained-on", metavar="ARTIFACT", help="Learn the personas from this sweep, say the base's."),
    ] = "",
    draws: Annotated[int, typer.Option(min=1, help="Bootstrap resamples.")] = 1000,
    hub_url: options.HubUrl = None,
) -> None:
    """Say how often a classifier names the persona of an answer from its text: fidelity without a judge.

    It learns on other problems of the same sweep: do the personas differ? With --trained-on it learns from another
    sweep: do they still sound like that one's?
    """
    from permix.publishing import hub as hubs
    from permix.results.measures import recovery as recovering

    place = hubs.connect(hub_url)
    sweeps = {name: published.tables(name, place) for name in artifacts}
    teacher = published.tables(trained_on, place) if trained_on else None
    for benchmark in dict.fromkeys(name for tables in sweeps.values() for name in tables):
        print(f"{benchmark}\n{'recovery':>8}{'95 % interval':>18}{'chance':>9}  sweep")
        for name, tables in sweeps.items():
            if benchmark not in tables:
                continue
            if teacher is not None and benchmark not in teacher:
                raise BadInput(f"{trained_on} has no benchmark {benchmark!r}: give --trained-on a sweep that has it.")
            learned = tables if teacher is None else teacher
            found = recovering.across(learned[benchmark], tables[benchmark], draws=draws)
            print(f"{_line(found)}  {name}\n{'':8}{_least(found)}")
    if teacher is not None:
        print(f"The classifier learned from {trained_on}.")


def _line(found: Mapping[str, Any] | None) -> str:
    if found is None:
        return f"{'-':>8}{'-':>18}{'-':>9}"
    return f"{found['accuracy']:8.3f}{found['low']:>9.3f} to {found['high']:.3f}{found['chance']:9.3f}"


def _least(found: Mapping[str, Any] | None) -> str:
    """The three personas recovered least often, and whom they are most often taken for."""
    if found is None:
        return "needs completions of two personas on two problems at least"
    least = sorted(found["by_persona"].items(), key=lambda item: item[1])[:3]
    mistaken = [(who, share, found["taken_for"][who]) for who, share in least]
    said = [f"{who} {share:.2f}" + (f" (taken for {other})" if other else "") for who, share, other in mistaken]
    return f"least: {', '.join(said)}"
