"""Show answers of all variants side by side: one problem under one persona (Appendix E), chosen by rule, never by hand.

In:  the sweep of every variant (first seed), the datasets of the benchmarks
Out: data/test-00000-of-00001.parquet: one row per case and variant (COLUMNS)

The rule, on each benchmark and among the first runs under the pool's personas: `first` is the first condition, persona
by persona in the sweep's order, that the base misses and PerMix-RLVR solves; `random` are those whose sha256 of seed,
benchmark, persona and problem comes first.
"""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from permix import benchmarks
from permix import parquet as rows
from permix.benchmarks import Source
from permix.errors import BadInput
from permix.experiment.recipe import Recipe
from permix.paper import variants
from permix.prompting import persona
from permix.stage import Facts, Stage, StageConfig, StageContext, recipe_field, setting
from permix.stages import sweep

COLUMNS = {
    "case": "int32",
    "rule": "string",
    "benchmark": "string",
    "problem_id": "string",
    "question": "string",
    "gold": "string",
    "persona": "string",
    "variant": "string",
    "title": "string",
    "score": "float32",
    "status": "string",
    "extracted": "string",
    "finish": "string",
    "completion": "string",
}
BEFORE, AFTER = "base", "permix-rlvr"
Row = dict[str, Any]
Condition = tuple[str, str]  # persona, problem


@dataclass(frozen=True, kw_only=True)
class Config(StageConfig):
    """`sweeps`: the (variant, seed) of every sweep."""

    TABLE: ClassVar[str] = "cases"

    base_slug: str = recipe_field()
    sweeps: tuple[tuple[str, int], ...] = recipe_field()
    benchmarks: tuple[Source, ...] = recipe_field()
    toy: bool = recipe_field(False)
    random: int = setting(5, help="randomly drawn cases per benchmark, beside the first one by the rule")

    def __post_init__(self) -> None:
        self.refuse_below(0, "random")


def configs(recipe: Recipe) -> list[Config]:
    """One; none where the recipe measures nothing or has no two variants to put side by side."""
    if not recipe.benchmarks or len(recipe.variants) < 2:
        return []
    runs = tuple((name, seed) for name, seed in recipe.runs() if seed == recipe.seeds[0])
    shared: dict[str, Any] = {"org": recipe.org, "tag": recipe.tag, "base_slug": recipe.base_slug}
    shared |= {"sweeps": runs, "benchmarks": recipe.benchmarks, "toy": recipe.base == "toy"}
    return [Config(**shared, **recipe.settings("cases"))]


def target(config: Config) -> str:
    """`datasets/org/permix-cases`."""
    return repository(config.org, config.tag)


def repository(org: str, tag: str) -> str:
    """The repository of an experiment's cases, for the stage that reads it."""
    return f"datasets/{StageConfig(org=org, tag=tag).name('permix-cases')}"


def inputs(config: Config) -> dict[str, str]:
    """The sweeps, by variant, and the benchmarks' datasets."""
    made = {
        name: sweep.repository(config.org, config.tag, config.base_slug, name, seed) for name, seed in config.sweeps
    }
    return made | {f"benchmark/{s.name}": s.repo for s in config.benchmarks if s.repo}


def reads(config: Config) -> dict[str, tuple[str, ...]]:
    """Of the benchmarks' datasets what their splits need."""
    return benchmarks.reads(config.benchmarks)


def run(config: Config, inputs: Mapping[str, Path], out: Path, *, context: StageContext) -> Facts:
    """Choose by the scores alone, then read the completions of what was chosen."""
    table: list[Row] = []
    for source in config.benchmarks:
        table += _on(config, source, inputs, start=len({row["case"] for row in table}))
    rows.write(table, COLUMNS, out / "data" / "test-00000-of-00001.parquet")
    shown = [row for row in table if row["rule"] == "first"]
    return {"rows": len(table), "cases": len({row["case"] for row in table}), "first": shown}


def _on(config: Config, source: Source, inputs: Mapping[str, Path], start: int) -> Iterator[Row]:
    """The rows of one benchmark; cases are numbered from `start` + 1."""
    from permix.results.measures import sweeps

    folders = {name: inputs[name] for name, _ in config.sweeps}
    sweeps.refuse_unequal(folders, source.name)
    scores = {name: _scores(folder, source.name) for name, folder in folders.items()}
    problems = {p.id: p for p in benchmarks.load(source, inputs.get(f"benchmark/{source.name}"))}
    chosen = choose(scores, source.name, config.seed, config.random)
    wanted = sorted({problem for _, (_, problem) in chosen})
    texts = {name: _texts(folder, source.name, wanted) for name, folder in folders.items()}
    for number, (rule, (who, problem)) in enumerate(chosen, start + 1):
        if problem not in problems:
            raise BadInput(f"The sweeps answer {problem}, which {source.name} no longer holds: run the recipe again.")
        case: Row = {"case": number, "rule": rule, "benchmark": source.name, "problem_id": problem, "persona": who}
        case |= {"question": problems[problem].question, "gold": problems[problem].gold}
        for name in folders:
            yield case | {"variant": name, "title": variants.get(name).title} | texts[name][who, problem]


def choose(
    scores: Mapping[str, Mapping[Condition, float]], benchmark: str, seed: int, random: int
) -> list[tuple[str, Condition]]:
    """(rule, condition) of the cases of one benchmark, from {variant: {(persona, problem): score of the first run}}."""
    before, after = scores.get(BEFORE, {}), scores.get(AFTER, {})
    solved = (c for c in before if before[c] == 0 and after.get(c) == 1)

    def place(condition: Condition) -> bytes:
        return hashlib.sha256("\0".join(("case", str(seed), benchmark, *condition)).encode()).digest()

    first = [("first", condition) for condition in solved][:1]
    rest = sorted(next(iter(scores.values())), key=place)
    return first + [("random", condition) for condition in rest[:random]]


def _scores(folder: Path, benchmark: str) -> dict[Condition, float]:
    from permix.results.measures import sweeps

    controls = {c.key for c in persona.CONTROLS}
    found = sweeps.columns(folder, benchmark, ("persona", "problem_id", "run", "score"))
    every = zip(found["persona"], found["problem_id"], found["run"], found["score"], strict=True)
    return {(who, problem): score for who, problem, run, score in every if run == 0 and who not in controls}


def _texts(folder: Path, benchmark: str, problems: list[str]) -> dict[Condition, Row]:
    """What the first runs said on these problems."""
    import pyarrow.parquet as parquet

    names = ["persona", "problem_id", "score", "status", "extracted", "finish", "completion"]
    chosen = [("problem_id", "in", problems), ("run", "=", 0)]
    path = folder / "data" / benchmark / "test-00000-of-00001.parquet"
    found = parquet.read_table(path, columns=names, filters=chosen).to_pylist() if problems else []
    return {(row.pop("persona"), row.pop("problem_id")): row for row in found}


STAGE = Stage(
    name="cases",
    card="cases",
    version=1,
    config=Config,
    configs=configs,
    target=target,
    inputs=inputs,
    run=run,
    reads=reads,
)
