"""permix rewrites --preview: a few rows of a stage that costs money, and what the whole set would cost."""

import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from permix import benchmarks, files, stages
from permix.errors import BadInput
from permix.experiment.models import Model
from permix.pipeline import plan as chain
from permix.pipeline import recipes
from permix.stage import Parts
from permix.stages.shared.written_targets import WriterConfig


def preview(name: str, overrides: Sequence[str], stage: str, hub: str | None, work: Path | None) -> None:
    """Make the first rows of the stage's artifact and publish only its missing inputs; no answer is paid for twice."""
    plan = recipes.load(name, overrides)
    steps = chain.until(chain.build(plan), stage)
    if not steps:
        raise BadInput(f"The recipe {plan.name} asks nothing of stage {stage}: choose other variants.")

    from permix.pipeline.runner import Runner
    from permix.progress import Board
    from permix.publishing import hub as hubs
    from permix.sampling import engines, sampler

    place = hubs.connect(hub)
    place.check_write(plan.org)
    foreign = chain.resolve_foreign(steps, place)
    chain.look_up(steps, place)
    chain.check_packages(steps)
    *before, step = steps
    with Board() as board:
        heads = Runner(place, work or files.home() / "work", 1, board).run(before, foreign) | foreign
    folders = step.fetch(place, {name: heads[repo] for name, repo in step.needs.items()})
    module, config = stages.get(stage), step.config
    assert isinstance(config, WriterConfig)
    with tempfile.TemporaryDirectory() as scratch, ExitStack() as opened:

        def open_engine(engine: sampler.Engine | sampler.Endpoint) -> sampler.Sampler:
            found = engines.open_engine(engine)
            opened.callback(found.close)
            return found

        parts = Parts(Path(scratch), {}, {}, lambda *_: None, 1, open_engine)
        facts = module.run(module.preview(config), folders, Path(scratch) / "out", parts=parts)
        _show(Path(scratch) / "out")
    print(_cost(config.writer, facts, len(benchmarks.load(config.task, folders.get("task")))))


def _show(out: Path) -> None:
    import pyarrow.parquet as parquet

    for file in sorted(out.rglob("*.parquet")):
        for row in parquet.read_table(file).to_pylist():
            print(f"--- {row['problem_id']}, {row['persona'] or 'no persona'}: {row['status']}, gold {row['gold']}")
            print(f"{row['question']}\n\n{row['completion']}\n")


def _cost(writer: Model | None, facts: dict[str, Any], whole: int) -> str:
    """What the few rows cost, retries included, times the whole set."""
    few, rejected, spent = facts["problems"], sum(facts["rejected"].values()), facts["cost"]
    about = f"about {(spent['tokens_in'] + spent['tokens_out']) * whole / few:,.0f} tokens"
    if "USD" in spent:
        about += f", {spent['USD'] * whole / few:,.2f} USD"
    elif writer and writer.url:
        about += f"; for USD set price_in and price_out of [model.{writer.name}]"
    return f"{rejected} rewrites of {few} problems rejected. All {whole:,} problems: {about}."
