"""Judge which of two models stays more in character while solving the same problems (section 3.1, Table 1).

In:  the sweeps of both models, personas (pool eval), the benchmark's dataset
Out: data/test-00000-of-00001.parquet: one row per problem, persona, judge and order (COLUMNS);
     summary.json: every number, a function of the rows

The first runs of both sweeps on the recipe's first benchmark are compared. A judge reads every pair in both orders; the
model that is preferred in both wins the pair, and any other outcome is a tie.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from permix import benchmarks, files, parquet
from permix.benchmarks import Source, sizes
from permix.errors import BadInput, nearest
from permix.experiment.recipe import Recipe
from permix.judging import judge, panel, structured
from permix.prompting import prompts
from permix.prompting.persona import load as load_pool
from permix.stage import Facts, Folders, Replay, Stage, StageContext, Tables, recipe_field, setting
from permix.stages import sweep

COLUMNS = dict.fromkeys(("problem_id", "persona", "question", "first", "second", "order"), "string") | panel.JUDGEMENT
PERSONAS = 16  # for the estimate, unless the recipe names personas
ORDERS = "first", "second"  # the model whose answer stands first


@dataclass(frozen=True, kw_only=True)
class Config(panel.JudgedConfig):
    """The two models and the answers to compare."""

    TABLE: ClassVar[str] = "preference"

    benchmark: Source = recipe_field()
    personas: str = recipe_field()
    sweeps: tuple[str, ...] = recipe_field()
    names: tuple[str, ...] = recipe_field()
    toy: bool = recipe_field(False)
    asked: int = recipe_field(0, unhashed=True)  # pairs, for the estimate
    first: str = setting("base", help="first model: a variant of the recipe, or the Hub id of a sweep")
    second: str = setting("rlvr", help="second model: a variant of the recipe, or the Hub id of a sweep")
    only_personas: tuple[str, ...] = setting((), help="compare only under these personas, by their keys (empty: all)")
    judges: tuple[str, ...] = ("deepseek-v3.2",)
    limit: int = setting(0, help="number of problems, the first of the benchmark (0: all)")

    def __post_init__(self) -> None:
        super().__post_init__()
        self.refuse_below(0, "limit")
        if len(set(self.sweeps)) < 2:
            raise BadInput(f"[preference] first and second are both {self.first!r}: name two models.")


def configs(recipe: Recipe) -> list[Config]:
    """Return one Config, if the recipe has a table [preference]."""
    if "preference" not in recipe.tables:
        return []
    if not recipe.benchmarks:
        raise BadInput("[preference] compares answers to a benchmark: name one in benchmarks.")
    settings = recipe.settings("preference")
    bounds = [table["limit"] for table in (settings, recipe.settings("sweep")) if table.get("limit")]
    problems = sizes.problems(recipe.benchmarks[0], min(bounds, default=0))
    judges = settings.get("judges", Config.judges)
    shared: dict[str, Any] = {"personas": recipe.eval_personas_repo, "benchmark": recipe.benchmarks[0]}
    sweeps = [_sweep(recipe, settings.get(order, getattr(Config, order))) for order in ORDERS]
    shared |= {"names": tuple(name for name, _ in sweeps), "sweeps": tuple(repo for _, repo in sweeps)}
    shared["judge_models"] = tuple(structured.served(recipe.model(name), "[preference] judges") for name in judges)
    shared |= {"toy": recipe.base == "toy", "asked": problems * len(settings.get("only_personas") or range(PERSONAS))}
    return [Config.of(recipe, **shared)]


def target(config: Config) -> str:
    """Return `datasets/org/permix-preference-<a>-vs-<b>`."""
    return f"datasets/{config.name(f'permix-preference-{config.names[0]}-vs-{config.names[1]}')}"


def inputs(config: Config) -> dict[str, str]:
    """Return both sweeps, the personas, and the benchmark's dataset, if it has one."""
    repositories = dict(zip(ORDERS, config.sweeps, strict=True)) | {"personas": config.personas}
    return repositories | ({"benchmark": config.benchmark.repo} if config.benchmark.repo else {})


def estimate(config: Config) -> dict[str, float]:
    """Return the calls without retries, the maximum of tokens, and their USD if the recipe states prices."""
    return panel.cost(config.judge_models, 2 * config.asked, config.judge_max_tokens)


def expected(config: Config) -> dict[str, float]:
    """Return the same with judgements of usual length."""
    tokens = min(config.judge_max_tokens, panel.JUDGEMENT_TOKENS)
    return panel.cost(config.judge_models, 2 * config.asked, tokens)


def run(config: Config, inputs: Mapping[str, Path], out: Path, *, context: StageContext) -> Facts:
    """Let every judge compare every pair in both orders; a pair without both verdicts is counted and omitted."""
    pairs, unpaired = _pairs(config, inputs)
    rows = {f"{n}|{order}": pair.row | {"order": order} for n, pair in enumerate(pairs) for order in ORDERS}
    items = [judge.Item(f"{n}|{order}", pair.chat(order)) for n, pair in enumerate(pairs) for order in ORDERS]
    judges = panel.Panel(config.judges, config, context)
    judgements = [row for name in config.judges for row in judges.rows(name, "judge", judge.PREFERENCE, items, rows)]
    judges.refuse_silence(judgements)
    parquet.write(judgements, COLUMNS, parquet.data_file(out))
    summary = summarise(vars(config), judgements)
    files.write_json(out / "summary.json", summary)
    return {
        "rows": len(judgements),
        "pairs": len(pairs),
        "unpaired": unpaired,
        "summary": summary,
        "trouble": judges.trouble,
        "prompts": prompts.templates("compare", "compare_item", "again"),
        "cost": judges.spent,
    }


def summarise(config: Mapping[str, Any], judgements: Sequence[parquet.Row]) -> dict[str, Any]:
    """Return every number of the artifact, from its rows only."""
    from permix.results.measures import preferences

    return {**dict(zip(ORDERS, config["names"], strict=True)), "judges": preferences.of_rows(judgements)}


def replay(config: Mapping[str, Any], folder: Path, inputs: Folders) -> tuple[Tables, Tables, dict[str, Any]]:
    """Read the raw replies again; return the stored rows, the rows read again, and the summary of the latter."""
    stored = parquet.read(parquet.data_file(folder))
    replayed = [judge.again(row, judge.PREFERENCE) for row in stored]
    return {"test": stored}, {"test": replayed}, summarise(config, replayed)


def _sweep(recipe: Recipe, name: str) -> tuple[str, str]:
    """Return name and repository of a sweep, given a variant of the recipe or the sweep's Hub id."""
    if name in recipe.variants:
        stem = sweep.repository(recipe.org, "", recipe.base_slug, name, 0).partition("/permix-sweep-")[2]
        return stem, sweep.repository(recipe.org, recipe.tag, recipe.base_slug, name, recipe.seeds[0])
    if "/" not in name:
        raise BadInput(f"[preference] names {name!r}, no variant of this recipe: {nearest(name, recipe.variants)}")
    repo = name.removeprefix("datasets/")
    return repo.partition("@")[0].partition("/")[2].removeprefix("permix-sweep-"), f"datasets/{repo}"


@dataclass(frozen=True)
class Pair:
    """The answers of both models to one problem under one persona."""

    problem_id: str
    persona: str
    system_prompt: str
    question: str
    first: str
    second: str

    @property
    def row(self) -> parquet.Row:
        """The columns of the pair."""
        return {name: getattr(self, name) for name in ("problem_id", "persona", "question", "first", "second")}

    def chat(self, order: str) -> prompts.Messages:
        """Return the judge's prompt, with the answer of model `order` first."""
        answers = (self.first, self.second) if order == "first" else (self.second, self.first)
        return prompts.comparing(self.system_prompt, self.question, *answers)


def _pairs(config: Config, inputs: Mapping[str, Path]) -> tuple[list[Pair], int]:
    """Return all pairs in the benchmark's order, and the number of answers without a partner."""
    pool = {persona.key: persona.system_prompt for persona in load_pool(inputs["personas"], "eval")}
    if unknown := [key for key in config.only_personas if key not in pool]:
        raise BadInput(f"[preference] only_personas names {unknown[0]!r}: {nearest(unknown[0], pool)}")
    first, second = (_answers(config, inputs[order], name) for order, name in zip(ORDERS, config.names, strict=True))
    answered = {problem for problem, _ in first}
    problems = [p for p in benchmarks.load(config.benchmark, inputs.get("benchmark")) if p.id in answered]
    pairs = [
        Pair(problem.id, persona, pool[persona], problem.question, first[condition], second[condition])
        for problem in problems[: config.limit or None]
        for persona in config.only_personas or pool
        for condition in [(problem.id, persona)]
        if condition in first and condition in second
    ]
    if not pairs:
        raise BadInput(f"{' and '.join(config.names)} answer no problem of {config.benchmark.name} under one persona.")
    return pairs, len(first.keys() ^ second.keys())


def _answers(config: Config, folder: Path, name: str) -> dict[tuple[str, str], str]:
    from permix.results.measures import sweeps

    sweeps.summary(folder, name, config.benchmark.name)
    columns = ("problem_id", "persona", "run", "completion")
    values = sweeps.columns(folder, config.benchmark.name, columns)
    rows = zip(*(values[column] for column in columns), strict=True)
    return {(problem, persona): text for problem, persona, run, text in rows if run == 0}


STAGE = Stage(
    name="preference",
    card="preference",
    version=1,
    config=Config,
    configs=configs,
    target=target,
    inputs=inputs,
    run=run,
    estimate=estimate,
    expected=expected,
    replay=Replay("judgements read again from raw replies", replay),
)
