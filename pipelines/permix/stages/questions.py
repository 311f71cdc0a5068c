"""Write the questions that PersonaGym puts to every persona, once for all variants (C.2).

In:  personas (pool eval), or a dataset of questions that are there already; upstream's prompts where they are asked for
Out: data/test-00000-of-00001.parquet: one row per question (COLUMNS)

For each persona and each of the five tasks a model writes `per_task` questions, and for each question an example answer
of every score from 1 to 5, which the judges get beside the rubric. The prompts are ours, for the paper prints none, or
upstream's (permix.judging.procedure).
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from permix import parquet
from permix.errors import BadInput, PermixError
from permix.experiment.models import Model
from permix.experiment.recipe import Recipe
from permix.judging import procedure, structured, tasks
from permix.judging.structured import Client, SharedBudget
from permix.judging.tasks import TASKS, text_of
from permix.judging.upstream import GROUP
from permix.parquet import Row
from permix.prompting import persona, prompts
from permix.prompting.persona import Persona
from permix.sampling.sampler import Sampling
from permix.stage import Facts, Stage, StageConfig, StageContext, recipe_field, setting, unhashed

COLUMNS = {
    "question_id": "string",
    "persona": "string",
    "category": "string",
    "system_prompt": "string",
    "description": "string",
    "task": "string",
    "number": "int32",
    "question": "string",
    "examples": "strings",
    "writer": "string",
}
PERSONAS = 16  # pool eval, for the estimate
PROMPT_TOKENS, QUESTION_TOKENS, EXAMPLES_TOKENS, THINKING = 350, 80, 600, 500


@dataclass(frozen=True, kw_only=True)
class Config(StageConfig):
    """Who writes the questions, or which dataset they come from."""

    TABLE: ClassVar[str] = "questions"

    personas: str = recipe_field()
    writer: Model | None = recipe_field(None)
    upstream: str = recipe_field("", unhashed=True)  # its content is what is hashed
    model: str = setting("gpt-5-mini", help="writer of the questions: a name of [model.*]")
    per_task: int = setting(10, help="questions per persona and task (Table 10 has 1)")
    examples: bool = setting(True, help="also write an example answer for every score, for the judges")
    dataset: str = setting(
        "",
        help="Hub dataset with columns persona, task and question, used instead of written questions",
    )
    config: str = setting("", help="configuration of the dataset")
    split: str = setting("test", help="split of the dataset")
    limit: int = setting(0, help="number of personas, the first of the dataset (0: all)")
    written_by: str = setting("", help="model that wrote the dataset, if known")
    temperature: float = setting(1.0, help="sampling temperature of the writer (0: greedy)")
    max_tokens: int = setting(8192, help="maximum tokens of a reply")  # a reasoning model thinks within it
    retries: int = setting(2, help="retries for an unreadable reply")
    budget: float = unhashed(0.0, help="limit in USD for the writer (0: no limit)")

    def __post_init__(self) -> None:
        """Refuse numbers out of range."""
        self.refuse_below(1, "per_task", "max_tokens")
        self.refuse_below(0, "retries", "limit", "budget")


def wanted(recipe: Recipe) -> bool:
    """True where the recipe measures PersonaGym: it has a table [questions] or [personagym]."""
    return bool({"questions", "personagym"} & recipe.tables.keys())


def configs(recipe: Recipe) -> list[Config]:
    """One for all variants and seeds, where the recipe measures PersonaGym."""
    if not wanted(recipe):
        return []
    config = Config(
        org=recipe.org,
        tag=recipe.tag,
        seed=recipe.seeds[0],
        personas=recipe.eval_personas_repo,
        upstream=recipe.settings("personagym").get("upstream", ""),
        **recipe.settings("questions"),
    )
    if config.dataset and not config.examples:
        return [config]
    writer = structured.served(recipe.model(config.model), "[questions] model")
    return [replace(config, writer=writer)]


def target(config: Config) -> str:
    """`datasets/org/permix-personagym-questions`."""
    return f"datasets/{config.name('permix-personagym-questions')}"


def repository(recipe: Recipe) -> str:
    """Where the questions of a recipe are, for the stage that asks them."""
    return target(configs(recipe)[0])


def inputs(config: Config) -> dict[str, str]:
    """The personas or the dataset of questions, and upstream's prompts where they are asked for."""
    source = {"questions": f"datasets/{config.dataset}"} if config.dataset else {"personas": config.personas}
    return source | ({"upstream": f"datasets/{config.upstream}"} if config.upstream else {})


def count(config: Config) -> int:
    """How many questions there will be, for estimates; those of a dataset are not counted before it is read."""
    return (config.limit or PERSONAS) * len(TASKS) * config.per_task


def groups(config: Config) -> int:
    """How many replies hold the examples of all questions, or a judge's scores of their answers."""
    return count(config) // config.per_task * -(-config.per_task // GROUP) if config.upstream else count(config)


def estimate(config: Config) -> dict[str, float]:
    """Calls without retries, and at most so many tokens and USD, where the recipe states prices."""
    calls = sum(_calls(config))
    return _cost(config, calls * config.max_tokens)


def expected(config: Config) -> dict[str, float]:
    """The same with replies of usual length."""
    lists, examples = _calls(config)
    questions = 0 if config.dataset else count(config) * QUESTION_TOKENS
    shown = count(config) * EXAMPLES_TOKENS if examples else 0
    return _cost(config, (lists + examples) * THINKING + questions + shown)


def _calls(config: Config) -> tuple[int, int]:
    """How many lists (of questions, of upstream's settings) and sets of examples are asked for."""
    if config.writer is None:
        return 0, 0
    lists = 0 if config.dataset else count(config) // config.per_task + bool(config.upstream) * PERSONAS
    return lists, config.examples * groups(config)


def _cost(config: Config, tokens: int) -> dict[str, float]:
    if config.writer is None:
        return {}
    calls = sum(_calls(config))
    usd = config.writer.price(calls * PROMPT_TOKENS, tokens)
    return {"calls": calls, "tokens": tokens} | ({"USD": usd} if usd else {})


def check(config: Config, inputs: Mapping[str, Path]) -> None:
    """Read the questions that come from a dataset before anything is paid for."""
    if "upstream" in inputs:
        procedure.of(inputs["upstream"])
    if "questions" in inputs:
        _given(config, inputs["questions"])


def run(config: Config, inputs: Mapping[str, Path], out: Path, *, context: StageContext) -> Facts:
    """Write what is missing; a persona and task without questions is recorded, and the others go on."""
    way = procedure.of(inputs.get("upstream"))
    sampling = Sampling(temperature=config.temperature, max_tokens=config.max_tokens)
    budget = SharedBudget(config.budget)
    client = Client(config.writer, context, sampling, config.retries, budget) if config.writer else None
    missing: dict[str, str] = {}
    if config.dataset:
        found = _given(config, inputs["questions"])
    else:
        assert client is not None
        found, missing = way.write(client, persona.load(inputs["personas"], "eval"), config.per_task, config.seed)
    if not found:
        raise PermixError(
            f"{config.model} wrote no question that can be used ({_counted(missing)}): try another model."
        )
    unshown = way.exemplify(client, found, config.seed) if client and config.examples else {}
    parquet.write(found, COLUMNS, out / "data" / "test-00000-of-00001.parquet")
    asked = Counter(row["persona"] for row in found)
    return {
        "rows": len(found),
        "personas": dict(sorted(asked.items())),
        "tasks": dict(Counter(row["task"] for row in found)),
        "without_questions": missing,
        "without_examples": dict(Counter(unshown.values())),
        "writers": sorted({row["writer"] for row in found}),
        "trouble": client.trouble if client else "",
        "prompts": way.prompts(),
        "not_copied": list(way.not_copied),
        "cost": structured.spent([client] if client else []),
    }


def read(folder: Path) -> list[Row]:
    """The rows of a questions artifact."""
    return parquet.read(folder / "data" / "test-00000-of-00001.parquet")


def _given(config: Config, folder: Path) -> list[Row]:
    """The questions of a dataset: columns persona, task, question; category and system_prompt where it has them."""
    names = {title.lower(): task for task, title in TASKS.items()} | {task: task for task in TASKS}
    names["toxicity"] = "toxicity_control"  # PersonaGym's own data says so
    found: list[Row] = []
    numbers, people = Counter[str](), dict[str, None]()
    for at, row in enumerate(parquet.of_split(folder, config.dataset, config.split, config.config), 1):
        who, task, question = (text_of(row.get(name)) for name in ("persona", "task", "question"))
        if not who or not question or task.lower() not in names:
            known = ", ".join(TASKS.values())
            raise BadInput(
                f"Row {at} of {config.dataset} should have a persona, a question and a task, one of {known}: "
                f"its task is {task!r}."
            )
        people.setdefault(who)
        if config.limit and len(people) > config.limit:
            break
        task = names[task.lower()]
        if numbers[f"{who}|{task}"] == config.per_task:
            continue
        said = text_of(row.get("system_prompt"))
        person = Persona(who, text_of(row.get("category")), said or prompts.identity(who))
        writer = config.written_by or config.dataset
        found.append(tasks.question(person, task, numbers[f"{who}|{task}"], question, writer, said or who))
        numbers[f"{who}|{task}"] += 1
    return found


def _counted(missing: Mapping[str, str]) -> str:
    return ", ".join(f"{n} x {fault}" for fault, n in Counter(missing.values()).items())


STAGE = Stage(
    name="questions",
    card="questions",
    version=2,  # description, what judges are shown of the person
    config=Config,
    configs=configs,
    target=target,
    inputs=inputs,
    run=run,
    check=check,
    estimate=estimate,
    expected=expected,
)
