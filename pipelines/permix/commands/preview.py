"""permix rewrites --preview: a few rows of a stage that costs money, and the cost of all of them."""

from collections.abc import Sequence
from pathlib import Path

from permix.pipeline import preview as previewing
from permix.pipeline.plan import Plan, RunRequest
from permix.publishing import hub as hubs


def preview(name: str, overrides: Sequence[str], stage: str, hub_url: str | None, work: Path | None) -> None:
    """Print the first rows of the stage's artifact and the cost of all of them."""
    plan = Plan.of(RunRequest(name, tuple(overrides), until=stage))

    shown = previewing.preview(plan, hubs.connect(hub_url), work)
    for row in shown.rows:
        print(f"--- {row['problem_id']}, {row['persona'] or 'no persona'}: {row['status']}, gold {row['gold']}")
        print(f"{row['question']}\n\n{row['completion']}\n")
    print(shown.cost)
