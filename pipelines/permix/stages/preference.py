"""Judge which of two models stays more in character while solving the same problems (section 3.1, Table 1).

In:  the sweeps of both models, personas (pool eval), the benchmark's dataset
Out: data/test-00000-of-00001.parquet: one row per problem, persona, judge and order (COLUMNS);
     summary.json: every number, a function of the rows

Compared are the first runs of both sweeps on the recipe's first benchmark. A judge sees every pair twice, each answer
first once; a pair is won by the model that is preferred both times, an order flip is a tie.
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
from permix.judging.judge import Item
from permix.judging.panel import JUDGEMENT, JudgedConfig, Panel
from permix.parquet import Row
from permix.prompting import persona, prompts
from permix.prompting.prompts import Messages
from permix.stage import Facts, Replay, Stage, StageContext, recipe_field, setting
from permix.stages import sweep

COLUMNS = dict.fromkeys(("problem_id", "persona", "question", "first", "second", "order"), "string") | JUDGEMENT
PERSONAS = 16  # for the estimate, where the recipe does not bound them
ORDERS = "first", "second"  # which model's answer is shown first


@dataclass(frozen=True, kw_only=True)
class Config(JudgedConfig):
    """Which answers are compared."""

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
        """Refuse numbers out of range."""
        super().__post_init__()
        self.refuse_below(0, "limit")
        if len(set(self.sweeps)) < 2:
            raise BadInput(f"[preference] first and second are both {self.first!r}: name two models.")


def configs(recipe: Recipe) -> list[Config]:
    """One, where the recipe has a table [preference]."""
    if "preference" not in recipe.tables:
        return []
    if not recipe.benchmarks:
        raise BadInput("[preference] compares answers to a benchmark: name one in benchmarks.")
    settings = recipe.settings("preference")
    bounds = [table["limit"] for table in (settings, recipe.settings("sweep")) if table.get("limit")]
    problems = sizes.problems(recipe.benchmarks[0], min(bounds, default=0))
    judges = settings.get("judges", Config.judges)
    shared: dict[str, Any] = {"org": recipe.org, "tag": recipe.tag, "seed": recipe.seeds[0]}
    shared |= {"personas": recipe.eval_personas_repo, "benchmark": recipe.benchmarks[0], "toy": recipe.base == "toy"}
    compared = [_compared(recipe, settings.get(which, getattr(Config, which))) for which in ORDERS]
    shared |= {"names": tuple(name for name, _ in compared), "sweeps": tuple(repo for _, repo in compared)}
    shared["judge_models"] = tuple(structured.served(recipe.model(name), "[preference] judges") for name in judges)
    shared["asked"] = problems * len(settings.get("only_personas") or range(PERSONAS))
    return [Config(**shared, **settings)]


def target(config: Config) -> str:
    """`datasets/org/permix-preference-<a>-vs-<b>`."""
    return f"datasets/{config.name(f'permix-preference-{config.names[0]}-vs-{config.names[1]}')}"


def inputs(config: Config) -> dict[str, str]:
    """Both sweeps, the personas, and the benchmark's dataset where it has one."""
    found = dict(zip(ORDERS, config.sweeps, strict=True)) | {"personas": config.personas}
    return found | ({"benchmark": config.benchmark.repo} if config.benchmark.repo else {})


def estimate(config: Config) -> dict[str, float]:
    """Calls without retries, and at most so many tokens and USD, where the recipe states prices."""
    return panel.cost(config.judge_models, 2 * config.asked, config.judge_max_tokens)


def expected(config: Config) -> dict[str, float]:
    """The same with judgements of usual length."""
    tokens = min(config.judge_max_tokens, panel.JUDGEMENT_TOKENS)
    return panel.cost(config.judge_models, 2 * config.asked, tokens)


def run(config: Config, inputs: Mapping[str, Path], out: Path, *, context: StageContext) -> Facts:
    """Show every pair to every judge in both orders; a pair without both verdicts is counted and left out."""
    pairs, unpaired = _pairs(config, inputs)
    shown = {f"{n}|{order}": (pair, order) for n, pair in enumerate(pairs) for order in ORDERS}
    known = {key: pair["row"] | {"order": order} for key, (pair, order) in shown.items()}
    items = [Item(key, _shown(pair, order)) for key, (pair, order) in shown.items()]
    judges = Panel(config.judges, config, context)
    judged = [row for name in config.judges for row in judges.rows(name, "judge", judge.PREFERENCE, items, known)]
    judges.refuse_silence(judged)
    parquet.write(judged, COLUMNS, out / "data" / "test-00000-of-00001.parquet")
    summary = summarise(vars(config), judged)
    files.write_json(out / "summary.json", summary)
    return {
        "rows": len(judged),
        "pairs": len(pairs),
        "unpaired": unpaired,
        "summary": summary,
        "trouble": judges.trouble,
        "prompts": prompts.templates("compare", "compare_item", "again"),
        "cost": judges.spent,
    }


def summarise(config: Mapping[str, Any], judged: Sequence[Row]) -> dict[str, Any]:
    """Every number of the artifact, from its rows alone: what `permix verify` computes again."""
    from permix.results.measures import preferences

    return {**dict(zip(ORDERS, config["names"], strict=True)), "judges": preferences.of_rows(judged)}


def replay(
    config: Mapping[str, Any], folder: Path, inputs: Mapping[str, Path]
) -> tuple[dict[str, list[Row]], dict[str, list[Row]], dict[str, Any]]:
    """The rows as they are stored, the same read anew from the raw replies, and the summary of those."""
    stored = parquet.read(folder / "data" / "test-00000-of-00001.parquet")
    anew = [judge.again(row, judge.PREFERENCE) for row in stored]
    return {"test": stored}, {"test": anew}, summarise(config, anew)


def _compared(recipe: Recipe, name: str) -> tuple[str, str]:
    """Name and repository of a sweep: that of a variant of the recipe, or one named by its Hub id."""
    if name in recipe.variants:
        stem = sweep.repository(recipe.org, "", recipe.base_slug, name, 0).partition("/permix-sweep-")[2]
        return stem, sweep.repository(recipe.org, recipe.tag, recipe.base_slug, name, recipe.seeds[0])
    if "/" not in name:
        raise BadInput(f"[preference] names {name!r}, no variant of this recipe: {nearest(name, recipe.variants)}")
    repo = name.removeprefix("datasets/")
    return repo.partition("@")[0].partition("/")[2].removeprefix("permix-sweep-"), f"datasets/{repo}"


def _pairs(config: Config, inputs: Mapping[str, Path]) -> tuple[list[Row], int]:
    """Every pair {"row", "prompt": the persona's text} in the benchmark's order, and how many answers have none."""
    pool = {who.key: who.system_prompt for who in persona.load(inputs["personas"], "eval")}
    if unknown := [key for key in config.only_personas if key not in pool]:
        raise BadInput(f"[preference] only_personas names {unknown[0]!r}: {nearest(unknown[0], pool)}")
    first, second = (_answers(config, inputs[which], name) for which, name in zip(ORDERS, config.names, strict=True))
    answered = {problem for problem, _ in first}
    problems = [p for p in benchmarks.load(config.benchmark, inputs.get("benchmark")) if p.id in answered]
    pairs = [
        {
            "row": {"problem_id": p.id, "persona": who, "question": p.question}
            | {"first": first[key], "second": second[key]},
            "prompt": pool[who],
        }
        for p in problems[: config.limit or None]
        for who in config.only_personas or pool
        for key in [(p.id, who)]
        if key in first and key in second
    ]
    if not pairs:
        raise BadInput(
            f"{config.names[0]} and {config.names[1]} answer no problem of {config.benchmark.name} under one persona."
        )
    return pairs, len(first.keys() ^ second.keys())


def _shown(pair: Row, order: str) -> Messages:
    row = pair["row"]
    answers = (row["first"], row["second"]) if order == "first" else (row["second"], row["first"])
    return prompts.comparing(pair["prompt"], row["question"], *answers)


def _answers(config: Config, folder: Path, name: str) -> dict[tuple[str, str], str]:
    """{(problem, persona): completion} of the first run."""
    from permix.results.measures import sweeps

    sweeps.summary(folder, name, config.benchmark.name)
    columns = ("problem_id", "persona", "run", "completion")
    found = sweeps.columns(folder, config.benchmark.name, columns)
    table = zip(*(found[column] for column in columns), strict=True)
    return {(problem, who): text for problem, who, run, text in table if run == 0}


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
