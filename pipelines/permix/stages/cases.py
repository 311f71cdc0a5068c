"""Show the answers of all variants side by side: one problem under one persona, chosen by a fixed rule (Appendix E).

In:  the sweep of every variant (first seed), the datasets of the benchmarks
Out: data/test-00000-of-00001.parquet: one row per case and variant (COLUMNS)

The rule, on each benchmark, among the first runs under the pool's personas: `first` is the first condition in the
sweep's order that the base misses and PerMix-RLVR solves; `random` are the conditions whose sha256 of seed, benchmark,
persona and problem sorts first.
"""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from permix import benchmarks, parquet
from permix.benchmarks import Source
from permix.errors import BadInput
from permix.experiment.recipe import Recipe
from permix.paper import variants
from permix.parquet import Row
from permix.prompting import persona
from permix.stage import Facts, Stage, StageConfig, StageContext, recipe_field, setting
from permix.stages import sweep

COLUMNS = (
    {"case": "int32"}
    | dict.fromkeys(("rule", "benchmark", "problem_id", "question", "gold", "persona", "variant", "title"), "string")
    | {"score": "float32"}
    | dict.fromkeys(("status", "extracted", "finish", "completion"), "string")
)
BEFORE, AFTER = "base", "permix-rlvr"
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
    """Return one Config; none for a recipe without benchmarks or with a single variant."""
    if not recipe.benchmarks or len(recipe.variants) < 2:
        return []
    runs = tuple((name, seed) for name, seed in recipe.runs() if seed == recipe.seeds[0])
    shared: dict[str, Any] = {"org": recipe.org, "tag": recipe.tag, "base_slug": recipe.base_slug}
    shared |= {"sweeps": runs, "benchmarks": recipe.benchmarks, "toy": recipe.base == "toy"}
    return [Config(**shared, **recipe.settings("cases"))]


def target(config: Config) -> str:
    """Return `datasets/org/permix-cases`."""
    return repository(config.org, config.tag)


def repository(org: str, tag: str) -> str:
    """Return the repository of an experiment's cases, for the stage that reads it."""
    return f"datasets/{StageConfig(org=org, tag=tag).name('permix-cases')}"


def inputs(config: Config) -> dict[str, str]:
    """Return the sweeps, by variant, and the benchmarks' datasets."""
    sweeps = {
        name: sweep.repository(config.org, config.tag, config.base_slug, name, seed) for name, seed in config.sweeps
    }
    return sweeps | {f"benchmark/{s.name}": s.repo for s in config.benchmarks if s.repo}


def run(config: Config, inputs: Mapping[str, Path], out: Path, *, context: StageContext) -> Facts:
    """Choose the cases by their scores, then read their completions."""
    rows: list[Row] = []
    for source in config.benchmarks:
        rows += _of_benchmark(config, source, inputs, start=len({row["case"] for row in rows}))
    parquet.write(rows, COLUMNS, parquet.data_file(out))
    first = [row for row in rows if row["rule"] == "first"]
    return {"rows": len(rows), "cases": len({row["case"] for row in rows}), "first": first}


def _of_benchmark(config: Config, source: Source, inputs: Mapping[str, Path], start: int) -> Iterator[Row]:
    from permix.results.measures import sweeps

    folders = {name: inputs[name] for name, _ in config.sweeps}
    sweeps.refuse_unequal(folders, source.name)
    scores = {name: _scores(folder, source.name) for name, folder in folders.items()}
    problems = {p.id: p for p in benchmarks.load(source, inputs.get(f"benchmark/{source.name}"))}
    chosen = choose(scores, source.name, config.seed, config.random)
    chosen_problems = sorted({problem for _, (_, problem) in chosen})
    answers = {name: _answers(folder, source.name, chosen_problems) for name, folder in folders.items()}
    for number, (rule, (key, problem)) in enumerate(chosen, start + 1):
        if problem not in problems:
            raise BadInput(f"The sweeps answer {problem}, which {source.name} no longer holds: run the recipe again.")
        case: Row = {"case": number, "rule": rule, "benchmark": source.name, "problem_id": problem, "persona": key}
        case |= source.texts(problems[problem])
        for name in folders:
            yield case | {"variant": name, "title": variants.get(name).title} | answers[name][key, problem]


def choose(
    scores: Mapping[str, Mapping[Condition, float]], benchmark: str, seed: int, random: int
) -> list[tuple[str, Condition]]:
    """Return (rule, condition) of one benchmark's cases, from {variant: {condition: score of the first run}}."""
    before, after = scores.get(BEFORE, {}), scores.get(AFTER, {})
    solved = (c for c in before if before[c] == 0 and after.get(c) == 1)

    def draw(condition: Condition) -> bytes:
        return hashlib.sha256("\0".join(("case", str(seed), benchmark, *condition)).encode()).digest()

    first = [("first", condition) for condition in solved][:1]
    shuffled = sorted(next(iter(scores.values())), key=draw)
    return first + [("random", condition) for condition in shuffled[:random]]


def _scores(folder: Path, benchmark: str) -> dict[Condition, float]:
    from permix.results.measures import sweeps

    columns = sweeps.columns(folder, benchmark, ("persona", "problem_id", "run", "score"))
    rows = zip(columns["persona"], columns["problem_id"], columns["run"], columns["score"], strict=True)
    return {(key, problem): score for key, problem, run, score in rows if run == 0 and key not in persona.CONTROL_KEYS}


def _answers(folder: Path, benchmark: str, problems: list[str]) -> dict[Condition, Row]:
    """Return completion and score of each condition on these problems, from the first runs."""
    names = ["persona", "problem_id", "score", "status", "extracted", "finish", "completion"]
    chosen = [("problem_id", "in", problems), ("run", "=", 0)]
    rows = parquet.read(parquet.data_file(folder, benchmark), names, chosen) if problems else []
    return {(row.pop("persona"), row.pop("problem_id")): row for row in rows}


STAGE = Stage(
    name="cases",
    card="cases",
    version=1,
    config=Config,
    configs=configs,
    target=target,
    inputs=inputs,
    run=run,
    reads=lambda config: benchmarks.reads(config.benchmarks),
)
