"""Write PersonaGym's questions for every persona, once for all variants (C.2).

In:  personas (pool eval), or a dataset of questions; upstream's prompts, if [personagym] upstream is set
Out: data/test-00000-of-00001.parquet: one row per question (COLUMNS)

A model writes `per_task` questions for each persona and each of the five tasks, and an example answer of every score
from 1 to 5 for each question, which the judges read with the rubric. The prompts are ours, because the paper prints
none, or upstream's (permix.judging.procedure).
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from permix import parquet
from permix.errors import BadInput, PermixError, counts
from permix.experiment.models import Model
from permix.experiment.recipe import Recipe
from permix.judging import procedure, structured, tasks
from permix.judging.tasks import TASKS, text_of
from permix.judging.upstream import GROUP
from permix.prompting import persona, prompts
from permix.sampling.sampler import Sampling
from permix.stage import Facts, Stage, StageConfig, StageContext, recipe_field, setting, unhashed

COLUMNS = dict.fromkeys(("question_id", "persona", "category", "system_prompt", "description", "task"), "string")
COLUMNS |= {"number": "int32", "question": "string", "examples": "strings", "writer": "string"}
PERSONAS = 16  # pool eval, for the estimate
PROMPT_TOKENS, QUESTION_TOKENS, EXAMPLES_TOKENS, THINKING = 350, 80, 600, 500


@dataclass(frozen=True, kw_only=True)
class Config(StageConfig):
    """The writer of the questions, or their dataset."""

    TABLE: ClassVar[str] = "questions"

    personas: str = recipe_field()
    writer: Model | None = recipe_field(None)
    upstream: str = recipe_field("", unhashed=True)  # its content is hashed
    model: str = setting("gpt-5-mini", help="writer of the questions: a name of [model.*]")
    per_task: int = setting(10, help="questions per persona and task (Table 10 has 1)")
    examples: bool = setting(True, help="also write an example answer for every score, for the judges")
    dataset: str = setting("", help="Hub dataset with columns persona, task and question, instead of written ones")
    config: str = setting("", help="configuration of the dataset")
    split: str = setting("test", help="split of the dataset")
    limit: int = setting(0, help="number of personas, the first of the dataset (0: all)")
    written_by: str = setting("", help="model that wrote the dataset, if known")
    temperature: float = setting(1.0, help="sampling temperature of the writer (0: greedy)")
    max_tokens: int = setting(8192, help="maximum tokens of a reply")  # a reasoning model's thoughts count too
    retries: int = setting(2, help="retries for an unreadable reply")
    budget: float = unhashed(0.0, help="limit in USD for the writer (0: no limit)")

    def __post_init__(self) -> None:
        self.refuse_below(1, "per_task", "max_tokens")
        self.refuse_below(0, "retries", "limit", "budget")


def configs(recipe: Recipe) -> list[Config]:
    """Return one Config for all variants and seeds, if the recipe has a table [questions] or [personagym]."""
    if not {"questions", "personagym"} & recipe.tables.keys():
        return []
    upstream = recipe.settings("personagym").get("upstream", "")
    config = Config.of(recipe, personas=recipe.eval_personas_repo, upstream=upstream)
    if config.dataset and not config.examples:
        return [config]
    writer = structured.served(recipe.model(config.model), "[questions] model")
    return [replace(config, writer=writer)]


def target(config: Config) -> str:
    """Return `datasets/org/permix-personagym-questions`."""
    return f"datasets/{config.name('permix-personagym-questions')}"


def repository(recipe: Recipe) -> str:
    """Return the repository of a recipe's questions, for stage personagym."""
    return target(configs(recipe)[0])


def inputs(config: Config) -> dict[str, str]:
    """Return the personas or the dataset of questions, and upstream's prompts if they are used."""
    source = {"questions": f"datasets/{config.dataset}"} if config.dataset else {"personas": config.personas}
    return source | ({"upstream": f"datasets/{config.upstream}"} if config.upstream else {})


def count(config: Config) -> int:
    """Return the number of questions, for estimates; a dataset counts as if `per_task` and PERSONAS held for it."""
    return (config.limit or PERSONAS) * len(TASKS) * config.per_task


def groups(config: Config) -> int:
    """Return the number of replies with the examples of all questions, or with a judge's scores of all answers."""
    return count(config) // config.per_task * -(-config.per_task // GROUP) if config.upstream else count(config)


def estimate(config: Config) -> dict[str, float]:
    """Return the calls without retries, the maximum of tokens, and their USD if the recipe states prices."""
    calls = sum(_calls(config))
    return _cost(config, calls * config.max_tokens)


def expected(config: Config) -> dict[str, float]:
    """Return the same with replies of usual length."""
    lists, examples = _calls(config)
    question_tokens = 0 if config.dataset else count(config) * QUESTION_TOKENS
    example_tokens = count(config) * EXAMPLES_TOKENS if examples else 0
    return _cost(config, (lists + examples) * THINKING + question_tokens + example_tokens)


def _calls(config: Config) -> tuple[int, int]:
    """Return the number of requests for lists (of questions, of upstream's settings) and for sets of examples."""
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
    """Read upstream's prompts and a dataset's questions; BadInput for a mistake, before anything is paid for."""
    if "upstream" in inputs:
        procedure.of(inputs["upstream"])
    if "questions" in inputs:
        _of_dataset(config, inputs["questions"])


def run(config: Config, inputs: Mapping[str, Path], out: Path, *, context: StageContext) -> Facts:
    """Write questions and examples; a persona and task without questions is recorded and does not stop the others."""
    gym = procedure.of(inputs.get("upstream"))
    sampling = Sampling(temperature=config.temperature, max_tokens=config.max_tokens)
    budget = structured.SharedBudget(config.budget)
    client = structured.Client(config.writer, context, sampling, config.retries, budget) if config.writer else None
    missing: dict[str, str] = {}
    if client is None or config.dataset:
        rows = _of_dataset(config, inputs["questions"])
    else:
        rows, missing = gym.write(client, persona.load(inputs["personas"], "eval"), config.per_task, config.seed)
    if not rows:
        raise PermixError(f"{config.model} wrote no usable question ({counts(missing.values())}): try another model.")
    without_examples = gym.exemplify(client, rows, config.seed) if client and config.examples else {}
    parquet.write(rows, COLUMNS, parquet.data_file(out))
    return {
        "rows": len(rows),
        "personas": dict(sorted(Counter(row["persona"] for row in rows).items())),
        "tasks": dict(Counter(row["task"] for row in rows)),
        "without_questions": missing,
        "without_examples": dict(Counter(without_examples.values())),
        "writers": sorted({row["writer"] for row in rows}),
        "trouble": client.trouble if client else "",
        "prompts": gym.prompts(),
        "not_copied": list(gym.not_copied),
        "cost": structured.spent([client] if client else []),
    }


def read(folder: Path) -> list[parquet.Row]:
    """Return the rows of a questions artifact."""
    return parquet.read(parquet.data_file(folder))


def _of_dataset(config: Config, folder: Path) -> list[parquet.Row]:
    """Return a dataset's questions: columns persona, task, question, and category and system_prompt if it has them."""
    names = {title.lower(): task for task, title in TASKS.items()} | {task: task for task in TASKS}
    names["toxicity"] = "toxicity_control"  # the name in PersonaGym's own data
    questions: list[parquet.Row] = []
    numbers, personas = Counter[str](), set[str]()
    for number, row in enumerate(parquet.of_split(folder, config.dataset, config.split, config.config), 1):
        key, task, question = (text_of(row.get(name)) for name in ("persona", "task", "question"))
        if not key or not question or task.lower() not in names:
            known = ", ".join(TASKS.values())
            raise BadInput(
                f"Row {number} of {config.dataset} should have a persona, a question and a task, one of {known}: "
                f"its task is {task!r}."
            )
        personas.add(key)
        if config.limit and len(personas) > config.limit:
            break
        task = names[task.lower()]
        if numbers[f"{key}|{task}"] == config.per_task:
            continue
        system_prompt = text_of(row.get("system_prompt"))
        each = persona.Persona(key, text_of(row.get("category")), system_prompt or prompts.identity(key))
        writer = config.written_by or config.dataset
        questions.append(tasks.question(each, task, numbers[f"{key}|{task}"], question, writer, system_prompt or key))
        numbers[f"{key}|{task}"] += 1
    return questions


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
