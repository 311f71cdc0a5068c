"""A sweep on the page of its GitHub job: a table, a bar for every persona, and a notice for every benchmark."""

from collections.abc import Mapping, Sequence
from typing import Any

from embedded_hub import launch
from permix.automation.ci import card, github
from permix.publishing.hub import Artifact, Hub
from permix.results import formatting

_BARS = 20
_COLUMNS = ("benchmark", "problems", "runs", "worst", "best", "mean", "pss", "pss_low", "pss_high", "pss_null", "none")


def report(hub: Hub, sweep: Artifact) -> None:
    """Write the sweep into the job summary and the run's annotations."""
    rows = card.numbers(hub, sweep)
    model = sweep.record["config"]["adapter"] or sweep.record["config"]["base"]
    sections = [f"## {github.plain(model)} under system personas", table(_COLUMNS, rows)]
    for row in rows:
        accuracies = sweep.record["facts"]["summary"]["benchmarks"][row["benchmark"]]["accuracy"]
        sections.append(_picture(row["benchmark"], accuracies))
        pss = f"PSS {_cell(row['pss'])} (noise floor {_cell(row['pss_null'])})"
        ends = f"{_cell(row['worst'])} under {row['worst_persona']}, {_cell(row['best'])} under {row['best_persona']}"
        github.annotate("notice", f"{model} on {row['benchmark']}", f"{pss}; {ends}")
    sections.append(f"Every completion: {launch.page_url(hub.endpoint, f'{sweep.repo}@{sweep.sha}')}")
    github.summary("\n\n".join(sections))


def table(columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> str:
    """Return a Markdown table of these columns."""
    return formatting.markdown(columns, [[_cell(row[name]) for name in columns] for row in rows]).rstrip()


def _picture(benchmark: str, accuracies: Mapping[str, float]) -> str:
    """Return a table with a bar of letters for each persona, the worst first: job summaries show no images of a run."""
    bars = [
        {"persona": name, "accuracy": value, "": "█" * round(_BARS * value) + "░" * (_BARS - round(_BARS * value))}
        for name, value in sorted(accuracies.items(), key=lambda pair: pair[1])
    ]
    return f"### {github.plain(benchmark)}\n\n{table(('', 'accuracy', 'persona'), bars)}"


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:.3f}" if isinstance(value, float) else github.plain(value)
