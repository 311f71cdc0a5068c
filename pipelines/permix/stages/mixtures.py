"""Build the training set of one variant: problems, with or without a persona drawn for each (section 4.1, Algorithm 1).

In:  personas (pool train); the task's dataset where it has one
Out: data/train-00000-of-00001.parquet: problem_id, question, gold, kind, persona (null without), prompt (messages)

A persona is drawn uniformly for every instance; in a further epoch the same problem meets another draw.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from permix import benchmarks, persona, prompt, variant
from permix.benchmarks import Source
from permix.errors import BadInput
from permix.stage import Facts, Parts, StageConfig, given

if TYPE_CHECKING:
    from permix.recipe import Recipe

CARD = "mixture"
VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Config(StageConfig):
    """`epochs` repeats the task, each time with new draws; `task.limit` bounds the problems."""

    variant: str = given()
    task: Source = given()
    personas: str = given()
    epochs: int = 1

    def __post_init__(self) -> None:
        if self.epochs < 1:
            raise BadInput(f"[mixtures] epochs is {self.epochs}: it should be at least 1.")


def configs(recipe: "Recipe") -> list[Config]:
    """One for each trained variant and seed."""
    return [
        Config(
            org=recipe.org,
            tag=recipe.tag,
            seed=seed,
            variant=name,
            task=recipe.task,
            personas=recipe.personas_repo,
            **recipe.settings("mixtures"),
        )
        for name, seed in recipe.runs()
        if variant.get(name).trainer != "none"
    ]


def target(config: Config) -> str:
    """`datasets/org/permix-mixture-<task>-<variant>`."""
    return f"datasets/{config.name(f'permix-mixture-{config.task.name}-{config.variant}')}"


def inputs(config: Config) -> dict[str, str]:
    """The personas and, where the task has one, its dataset."""
    return {"personas": config.personas} | ({"task": config.task.repo} if config.task.repo else {})


def check(config: Config, inputs: Mapping[str, Path]) -> None:
    """Read pools and problems that come from the Hub, so that what is wrong with them is found before training."""
    if "personas" in inputs:
        _pool(inputs["personas"])
    if "task" in inputs:
        benchmarks.load(config.task, inputs["task"])


def run(config: Config, inputs: Mapping[str, Path], out: Path, *, parts: Parts) -> Facts:
    """Write the mixture; every gold must be one that the verifier can check."""
    import pyarrow as arrow
    import pyarrow.parquet as parquet

    from permix.verifier import Verifier

    row = variant.get(config.variant)
    pool = _pool(inputs["personas"])
    problems = benchmarks.load(config.task, inputs.get("task"))
    with Verifier() as verifier:
        verifier.check_golds(problems)
    rows = []
    for epoch in range(config.epochs):
        for problem in problems:
            drawn = persona.draw(pool, config.seed, problem.id, epoch) if row.persona else None
            rows.append(
                {
                    "problem_id": problem.id,
                    "question": problem.question,
                    "gold": problem.gold,
                    "kind": problem.kind,
                    "persona": drawn.key if drawn else None,
                    "prompt": prompt.messages(problem.question, drawn, config.task.instruction),
                }
            )
    message = arrow.struct([("role", arrow.string()), ("content", arrow.string())])
    text = {name: arrow.string() for name in ("problem_id", "question", "gold", "kind", "persona")}
    schema = arrow.schema([*text.items(), ("prompt", arrow.list_(message))])
    (out / "data").mkdir()
    parquet.write_table(arrow.Table.from_pylist(rows, schema), out / "data" / "train-00000-of-00001.parquet")
    drawn_counts = Counter(r["persona"] or "none" for r in rows)
    return {"rows": len(rows), "problems": len(problems), "personas": dict(sorted(drawn_counts.items()))}


def _pool(folder: Path) -> list[persona.Persona]:
    """The training pool, disjoint from the one that is measured on."""
    pool = persona.load(folder, "train")
    persona.refuse_overlap(pool, persona.load(folder, "eval"))
    return pool
