"""Write the questions that PersonaGym puts to every persona, once for all variants (C.2).

In:  personas (pool eval), or a dataset of questions that are there already
Out: data/test-00000-of-00001.parquet: one row per question (COLUMNS)

For each persona and each of the five tasks a model writes `per_task` questions, and for each question an example answer
of every score from 1 to 5, which the judges get beside the rubric. The prompts are ours: the paper prints none.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from permix import benchmarks, persona, prompt, rows
from permix.benchmarks import Source
from permix.errors import BadInput, PermixError
from permix.judging import structured
from permix.judging.structured import Client, Form, Misfit, Purse
from permix.models import Model
from permix.persona import Persona
from permix.sampler import Sampling
from permix.stage import Facts, Parts, StageConfig, given, unhashed

if TYPE_CHECKING:
    from permix.recipe import Recipe

CARD = "questions"
VERSION = 1
TASKS = {
    "expected_action": "Expected Action",
    "action_justification": "Action Justification",
    "linguistic_habits": "Linguistic Habits",
    "persona_consistency": "Persona Consistency",
    "toxicity_control": "Toxicity Control",
}
"""PersonaGym's (Samuel et al. 2025), by the names in our files."""
COLUMNS = {
    "question_id": "string",
    "persona": "string",
    "category": "string",
    "system_prompt": "string",
    "task": "string",
    "number": "int32",
    "question": "string",
    "examples": "strings",
    "writer": "string",
}
PERSONAS = 16  # pool eval, for the estimate
PROMPT_TOKENS, QUESTION_TOKENS, EXAMPLES_TOKENS, THINKING = 350, 80, 600, 500
SCORES = ("1", "2", "3", "4", "5")
Row = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Config(StageConfig):
    """`model` is a name of [model.*]; `per_task` questions for each persona and task (1: the grain of Table 10).

    `dataset` is a Hub dataset with the columns persona, task and question instead (PersonaGym's own 200 personas, say),
    of which the first `limit` personas are taken (0: all); `written_by` names the model that wrote it, where known.
    """

    personas: str = given()
    writer: Model | None = given(default=None)
    model: str = "gpt-5-mini"
    per_task: int = 10
    examples: bool = True
    dataset: str = ""
    config: str = ""
    split: str = "test"
    limit: int = 0
    written_by: str = ""
    temperature: float = 1.0
    max_tokens: int = 8192  # a reasoning model thinks within it
    retries: int = 2
    budget: float = unhashed(0.0)

    def __post_init__(self) -> None:
        """Refuse numbers out of range."""
        for name, least in (("per_task", 1), ("max_tokens", 1), ("retries", 0), ("limit", 0), ("budget", 0)):
            if getattr(self, name) < least:
                raise BadInput(f"[questions] {name} is {getattr(self, name)}: it should be at least {least}.")


def wanted(recipe: "Recipe") -> bool:
    """True where the recipe measures PersonaGym: it has a table [questions] or [personagym]."""
    return bool({"questions", "personagym"} & recipe.tables.keys())


def configs(recipe: "Recipe") -> list[Config]:
    """One for all variants and seeds, where the recipe measures PersonaGym."""
    if not wanted(recipe):
        return []
    config = Config(
        org=recipe.org,
        tag=recipe.tag,
        seed=recipe.seeds[0],
        personas=recipe.eval_personas_repo,
        writer=None,
        **recipe.settings("questions"),
    )
    if config.dataset and not config.examples:
        return [config]
    writer = structured.served(recipe.model(config.model), "[questions] model")
    return [Config(**{**vars(config), "writer": writer})]


def target(config: Config) -> str:
    """`datasets/org/permix-personagym-questions`."""
    return f"datasets/{config.name('permix-personagym-questions')}"


def repository(recipe: "Recipe") -> str:
    """Where the questions of a recipe are, for the stage that asks them."""
    return target(configs(recipe)[0])


def inputs(config: Config) -> dict[str, str]:
    """The personas, or the dataset of questions."""
    return {"questions": f"datasets/{config.dataset}"} if config.dataset else {"personas": config.personas}


def count(config: Config) -> int:
    """How many questions there will be, for estimates; those of a dataset are not counted before it is read."""
    return (config.limit or PERSONAS) * len(TASKS) * config.per_task


def estimate(config: Config) -> dict[str, float]:
    """Calls without retries, and at most so many tokens and USD, where the recipe states prices."""
    calls = sum(_calls(config))
    return _cost(config, calls * config.max_tokens)


def expected(config: Config) -> dict[str, float]:
    """The same with replies of usual length."""
    lists, examples = _calls(config)
    return _cost(
        config, lists * (THINKING + config.per_task * QUESTION_TOKENS) + examples * (THINKING + EXAMPLES_TOKENS)
    )


def _calls(config: Config) -> tuple[int, int]:
    """How many lists of questions, and sets of examples, are asked for."""
    lists = 0 if config.dataset else count(config) // config.per_task
    return (lists, config.examples * count(config)) if config.writer else (0, 0)


def _cost(config: Config, tokens: int) -> dict[str, float]:
    if config.writer is None:
        return {}
    calls = sum(_calls(config))
    usd = config.writer.price(calls * PROMPT_TOKENS, tokens)
    return {"calls": calls, "tokens": tokens} | ({"USD": usd} if usd else {})


def check(config: Config, inputs: Mapping[str, Path]) -> None:
    """Read the questions that come from a dataset before anything is paid for."""
    if config.dataset:
        _given(config, inputs["questions"])


def run(config: Config, inputs: Mapping[str, Path], out: Path, *, parts: Parts) -> Facts:
    """Write what is missing; a persona and task without questions is recorded, and the others go on."""
    client = _client(config, parts)
    missing: dict[str, str] = {}
    if config.dataset:
        found = _given(config, inputs["questions"])
    else:
        assert client is not None
        found, missing = _written(config, client, persona.load(inputs["personas"], "eval"))
    if not found:
        raise PermixError(
            f"{config.model} wrote no question that can be used ({_counted(missing)}): try another model."
        )
    unshown = _exemplified(config, client, found) if client and config.examples else {}
    rows.write(found, COLUMNS, out / "data" / "test-00000-of-00001.parquet")
    asked = Counter(row["persona"] for row in found)
    return {
        "rows": len(found),
        "personas": dict(sorted(asked.items())),
        "tasks": dict(Counter(row["task"] for row in found)),
        "without_questions": missing,
        "without_examples": dict(Counter(unshown.values())),
        "writers": sorted({row["writer"] for row in found}),
        "trouble": client.trouble if client else "",
        "prompts": prompt.templates("questions", "examples", *(f"tasks/{task}" for task in TASKS)),
        "cost": structured.spent([client] if client else []),
    }


def read(folder: Path) -> list[Row]:
    """The rows of a questions artifact."""
    return rows.read(folder / "data" / "test-00000-of-00001.parquet")


def _client(config: Config, parts: Parts) -> Client | None:
    if config.writer is None:
        return None
    sampling = Sampling(temperature=config.temperature, max_tokens=config.max_tokens)
    return Client(config.writer, parts, sampling, config.retries, Purse(config.budget))


def _written(config: Config, client: Client, pool: list[Persona]) -> tuple[list[Row], dict[str, str]]:
    """The questions of all personas and tasks, and {persona|task: why there are none}."""
    cells = {f"{who.key}|{task}": (who, task) for who in pool for task in TASKS}
    asked = {
        key: prompt.interviewing(who.system_prompt, task, TASKS[task], config.per_task)
        for key, (who, task) in cells.items()
    }
    replies = client.ask(asked, _list_of(config.per_task), "questions", "questions", config.seed)
    found = [
        _row(who, task, number, text, reply.model)
        for key, reply in replies.items()
        for who, task in [cells[key]]
        for number, text in enumerate(reply.value or ())
    ]
    return found, {key: reply.fault for key, reply in replies.items() if reply.value is None}


def _exemplified(config: Config, client: Client, found: list[Row]) -> dict[str, str]:
    """Give every row its examples; return {question: why it has none}."""
    asked = {
        row["question_id"]: prompt.exemplifying(row["system_prompt"], row["task"], row["question"]) for row in found
    }
    schema = structured.closed({score: {"type": "string"} for score in SCORES})
    replies = client.ask(asked, Form(schema, _examples), "examples", "examples", config.seed)
    for row in found:
        row["examples"] = replies[row["question_id"]].value
    return {key: reply.fault for key, reply in replies.items() if reply.value is None}


def _list_of(count: int) -> Form:
    def read(reply: Mapping[str, Any]) -> list[str]:
        given = reply.get("questions")
        texts = list(dict.fromkeys(_text(text) for text in given)) if isinstance(given, list) else []
        texts = [text for text in texts if text]
        if len(texts) < count:
            raise Misfit("too_few", f"Your reply had {len(texts)} different questions: it should have {count}.")
        return texts[:count]

    return Form(structured.closed({"questions": {"type": "array", "items": {"type": "string"}}}), read)


def _examples(reply: Mapping[str, Any]) -> list[str]:
    texts = [_text(reply.get(score)) for score in SCORES]
    if not all(texts):
        raise Misfit("too_few", "Your reply should have an answer under each of the keys 1 to 5.")
    return texts


def _text(value: object) -> str:
    """A string as it can be stored: JSON may escape half a character."""
    return value.strip().encode("utf-8", "replace").decode() if isinstance(value, str) else ""


def _row(who: Persona, task: str, number: int, question: str, writer: str) -> Row:
    key = f"{who.key}|{task}|{number}"
    row = {"question_id": key, "persona": who.key, "category": who.category, "system_prompt": who.system_prompt}
    return row | {"task": task, "number": number, "question": question, "examples": None, "writer": writer}


def _given(config: Config, folder: Path) -> list[Row]:
    """The questions of a dataset: columns persona, task, question; category and system_prompt where it has them."""
    source = Source(name="questions", dataset=config.dataset, config=config.config, split=config.split)
    names = {title.lower(): task for task, title in TASKS.items()} | {task: task for task in TASKS}
    names["toxicity"] = "toxicity_control"  # PersonaGym's own data says so
    found: list[Row] = []
    numbers, people = Counter[str](), dict[str, None]()
    for at, row in enumerate(benchmarks.rows(folder, source), 1):
        who, task, question = (_text(row.get(name)) for name in ("persona", "task", "question"))
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
        person = Persona(who, _text(row.get("category")), _text(row.get("system_prompt")) or prompt.identity(who))
        found.append(_row(person, task, numbers[f"{who}|{task}"], question, config.written_by or config.dataset))
        numbers[f"{who}|{task}"] += 1
    return found


def _counted(missing: Mapping[str, str]) -> str:
    return ", ".join(f"{n} x {fault}" for fault, n in Counter(missing.values()).items())
