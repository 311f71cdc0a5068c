"""permix rewrites --preview: a few rows of a stage that costs money, and the cost of the whole set."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from permix import benchmarks
from permix.experiment.models import Model
from permix.pipeline.plan import Plan, RunRequest, check_packages
from permix.stages.shared.written_targets import WriterConfig


def preview(name: str, overrides: Sequence[str], stage: str, hub_url: str | None, work: Path | None) -> None:
    """Build the first rows of the stage's artifact and publish only its missing inputs; no answer is paid for twice."""
    plan = Plan.of(RunRequest(name, tuple(overrides), until=stage))

    from permix.pipeline import run
    from permix.publishing import hub as hubs

    hub = hubs.connect(hub_url)
    hub.check_write(plan.recipe.org)
    plan.look_up(hub)
    check_packages(plan.steps)
    *inputs, step = plan.steps
    states = {**plan.foreign, **run.run(inputs, plan.foreign, hub, work=work, workers=1)}
    folders = step.fetch(hub, {name: states[repo] for name, repo in step.needs.items()})
    config = step.config
    assert isinstance(config, WriterConfig) and step.stage.preview
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch) / "out"
        facts = run.in_process(step.stage, step.stage.preview(config), folders, out, Path(scratch))
        _show(out)
    print(_cost(config.writer, facts, len(benchmarks.load(config.task, folders.get("task")))))


def _show(out: Path) -> None:
    import pyarrow.parquet as parquet

    for file in sorted(out.rglob("*.parquet")):
        for row in parquet.read_table(file).to_pylist():
            print(f"--- {row['problem_id']}, {row['persona'] or 'no persona'}: {row['status']}, gold {row['gold']}")
            print(f"{row['question']}\n\n{row['completion']}\n")


def _cost(writer: Model | None, facts: dict[str, Any], problems: int) -> str:
    """Return the cost of the previewed rows, retries included, scaled to the whole set."""
    previewed, rejected, spent = facts["problems"], sum(facts["rejected"].values()), facts["cost"]
    estimate = f"about {(spent['tokens_in'] + spent['tokens_out']) * problems / previewed:,.0f} tokens"
    if "USD" in spent:
        estimate += f", {spent['USD'] * problems / previewed:,.2f} USD"
    elif writer and writer.url:
        estimate += f"; for USD set price_in and price_out of [model.{writer.name}]"
    return f"{rejected} rewrites of {previewed} problems rejected. All {problems:,} problems: {estimate}."
