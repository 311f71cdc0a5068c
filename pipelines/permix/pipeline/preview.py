"""The first rows of a stage that buys completions, and the cost of all its rows."""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from permix import benchmarks, parquet
from permix.experiment.models import Model
from permix.pipeline import run
from permix.pipeline.plan import Plan, check_packages
from permix.publishing.hub import Hub
from permix.stage import Facts
from permix.stages.shared.written_targets import WriterConfig


@dataclass(frozen=True)
class Preview:
    """The previewed rows, the facts of their stage, the number of all `problems`, and the model that writes."""

    rows: list[dict[str, Any]]
    facts: Facts
    problems: int
    writer: Model | None

    @property
    def cost(self) -> str:
        """A sentence with the cost of the previewed rows, retries included, scaled to all problems."""
        previewed, rejected, spent = self.facts["problems"], sum(self.facts["rejected"].values()), self.facts["cost"]
        scale = self.problems / previewed
        estimate = f"about {(spent['tokens_in'] + spent['tokens_out']) * scale:,.0f} tokens"
        if "USD" in spent:
            estimate += f", {spent['USD'] * scale:,.2f} USD"
        elif self.writer and self.writer.url:
            estimate += f"; for USD set price_in and price_out of [model.{self.writer.name}]"
        return f"{rejected} rewrites of {previewed} problems rejected. All {self.problems:,} problems: {estimate}."


def preview(plan: Plan, hub: Hub, work: Path | None) -> Preview:
    """Build the first rows of the plan's last step, and publish only its missing inputs; paid answers are reused."""
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
        rows = [row for path in sorted(out.rglob("*.parquet")) for row in parquet.read(path)]
    return Preview(rows, facts, len(benchmarks.load(config.task, folders.get("task"))), config.writer)
