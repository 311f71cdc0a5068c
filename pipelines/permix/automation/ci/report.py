"""A sweep on the page of its job: a table, a bar for every persona, and a notice for every benchmark."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from embedded_hub import launch
from permix.automation.ci import card, github

if TYPE_CHECKING:
    from permix.publishing.hub import Artifact, Hub

_BARS = 20
_COLUMNS = ("benchmark", "problems", "runs", "worst", "best", "mean", "pss", "pss_low", "pss_high", "pss_null", "none")


def report(hub: "Hub", made: "Artifact") -> None:
    """Write the sweep into the job summary and the run's annotations."""
    rows = card.numbers(hub, made)
    measured = made.record["config"]["adapter"] or made.record["config"]["base"]
    parts = [f"## {github.plain(measured)} under system personas", table(_COLUMNS, rows)]
    for row in rows:
        accuracy = made.record["facts"]["summary"]["benchmarks"][row["benchmark"]]["accuracy"]
        parts.append(_picture(row, accuracy))
        said = f"PSS {_cell(row['pss'])} (noise floor {_cell(row['pss_null'])})"
        under = f"{_cell(row['worst'])} under {row['worst_persona']}, {_cell(row['best'])} under {row['best_persona']}"
        github.annotate("notice", f"{measured} on {row['benchmark']}", f"{said}; {under}")
    parts.append(f"Every completion: {launch.page_url(hub.endpoint, f'{made.repo}@{made.sha}')}")
    github.summary("\n\n".join(parts))


def table(columns: tuple[str, ...], rows: list[dict[str, Any]]) -> str:
    """A Markdown table of these columns."""
    lines = [columns, ("---",) * len(columns), *([_cell(row[name]) for name in columns] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _picture(row: Mapping[str, Any], accuracy: Mapping[str, float]) -> str:
    """A bar for each persona, the worst first. Letters, for a job summary shows no pictures of its own."""
    people = [
        {"persona": name, "accuracy": value, "": "█" * round(_BARS * value) + "░" * (_BARS - round(_BARS * value))}
        for name, value in sorted(accuracy.items(), key=lambda item: item[1])
    ]
    return f"### {github.plain(row['benchmark'])}\n\n{table(('', 'accuracy', 'persona'), people)}"


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:.3f}" if isinstance(value, float) else github.plain(value)
