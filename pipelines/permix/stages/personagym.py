"""Measure how well one variant stays in character: its answers to the personas' questions, scored by judges (C.2).

In:  questions, base, an adapter (none for base); no base behind a server
Out: data/scores/test-00000-of-00001.parquet: one row per question and judge (COLUMNS);
     data/calibration/test-00000-of-00001.parquet: the judges' scores of answers whose order is known;
     summary.json: every number, a function of the rows

Every question is a chat of one turn: the persona as system message, the question. A judge gets persona, question and
answer with a rubric from 1 to 5 and an example of each score, and answers in JSON. Score and answer are never mixed up:
a judge that fails leaves a score missing, an answer that failed stops the publication.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from permix import files, judge, prompt, rows, targets, variant
from permix.errors import BadInput, PermixError
from permix.judge import Item, Judgement, ModelJudge
from permix.judging import calibration, structured
from permix.judging.structured import Client, Purse
from permix.models import Model
from permix.persona import Persona
from permix.sampler import Adapter, Backend, Engine, Request, Sampling, packages_of
from permix.stage import Facts, Parts, StageConfig, given, unhashed
from permix.stages import questions, sweep

if TYPE_CHECKING:
    from permix.recipe import Recipe

CARD = "personagym"
VERSION = 1
SAID = {
    "judge": "string",
    "model": "string",
    "score": "float32",
    "status": "string",
    "retries": "int32",
    "raw": "strings",
}
COLUMNS = {
    "question_id": "string",
    "persona": "string",
    "category": "string",
    "task": "string",
    "question": "string",
    "question_writer": "string",
    "answer": "string",
    "finish": "string",
    "tokens_out": "int32",
    "seed": "int64",
    "adapter_digest": "string",
    "base_dtype": "string",
} | SAID
CALIBRATION = dict.fromkeys(("id", "group", "persona", "task", "question", "answer"), "string") | SAID
ENGINE = ("backend", "batch_size", "dtype", "gpus", "tensor_parallel", "max_lora_rank")
PROMPT_TOKENS, ANSWER_TOKENS = 120, 250  # of a question and its answer, for the estimate
SCORING_TOKENS, JUDGEMENT_TOKENS = 1300, 400  # of what a judge reads, and writes with some thinking
Row = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Config(StageConfig):
    """`judges` are names of [model.*]; `temperature`, `top_p` and `max_tokens` are of the answers (PersonaGym's own).

    The engine's settings are those of [sweep] where [personagym] does not say otherwise. `model` is a served model, of
    which `base` is the server's name. `text_writers`: the models
    that wrote the variant's training targets. `budget` (USD, 0: no limit) is for all judges together.
    """

    variant: str = given()
    base: str = given()
    base_slug: str = given()
    toy: bool = given(default=False)
    adapter: str = field(default="", metadata={"given": True, "unhashed": True})  # its content is what is hashed
    model: Model | None = field(default=None, metadata={"given": True, "unhashed": True})
    questions: str = given()
    judge_models: tuple[Model, ...] = given()
    text_writers: tuple[str, ...] = given(default=())
    asked: int = field(default=0, metadata={"given": True, "unhashed": True})  # questions, for the estimate
    judges: tuple[str, ...] = ("gpt-5-mini", "deepseek-v3.2")
    temperature: float = 0.9
    top_p: float = 0.9
    max_tokens: int = 1024
    batch_size: int = 256
    dtype: str = "float32"
    backend: Backend = "transformers"
    gpus: int = unhashed(1)
    tensor_parallel: int = unhashed(1)
    max_lora_rank: int = unhashed(16)
    judge_temperature: float = 0.0
    judge_max_tokens: int = 4096  # a reasoning model thinks within it
    retries: int = 2
    calibrate: bool = True
    budget: float = unhashed(0.0)

    def __post_init__(self) -> None:
        """Refuse numbers out of range."""
        for name in ("max_tokens", "judge_max_tokens", "batch_size", "gpus", "tensor_parallel", "max_lora_rank"):
            if getattr(self, name) < 1:
                raise BadInput(f"[personagym] {name} is {getattr(self, name)}: it should be at least 1.")
        for name in ("temperature", "judge_temperature", "retries", "budget"):
            if getattr(self, name) < 0:
                raise BadInput(f"[personagym] {name} is {getattr(self, name)}: it should be 0 or more.")
        if not self.judges or len(set(self.judges)) < len(self.judges):
            raise BadInput(f"[personagym] judges is {list(self.judges)}: name at least one, and none twice.")


def packages(config: Config) -> tuple[str, ...]:
    """What samples the answers imports."""
    return () if config.model else packages_of(config.backend)


NEEDS = packages


def configs(recipe: "Recipe") -> list[Config]:
    """One for each variant and seed, where the recipe has a table [personagym]."""
    if "personagym" not in recipe.tables:
        return []
    engine = {name: value for name, value in recipe.settings("sweep").items() if name in ENGINE}
    settings = engine | recipe.settings("personagym")
    names = settings.get("judges", Config.judges)
    shared: dict[str, Any] = {
        "org": recipe.org,
        "tag": recipe.tag,
        "questions": questions.repository(recipe),
        "judge_models": tuple(structured.served(recipe.model(name), "[personagym] judges") for name in names),
        "asked": questions.count(questions.configs(recipe)[0]),
        **settings,
    }
    return [
        Config(seed=seed, text_writers=_writers(recipe, name), **shared | sweep.measured(recipe, name, seed))
        for name, seed in recipe.runs()
    ]


def target(config: Config) -> str:
    """`datasets/org/permix-personagym-<base-slug>-<variant>`."""
    return f"datasets/{config.name(f'permix-personagym-{config.base_slug}-{config.variant}')}"


def repository(org: str, tag: str, base_slug: str, name: str, seed: int) -> str:
    """The repository of the scores of the variant `name`, for the stages that read it; named as its sweep is."""
    return sweep.repository(org, tag, base_slug, name, seed).replace("/permix-sweep-", "/permix-personagym-")


def inputs(config: Config) -> dict[str, str]:
    """The questions, the base where it is run here, and the adapter where there is one."""
    models = {"base": "" if config.model else config.base, "adapter": config.adapter}
    return {name: repo for name, repo in (models | {"questions": config.questions}).items() if repo}


def group(config: Config) -> tuple[Any, ...]:
    """Variants of one base share an engine."""
    return config.base, config.model, *(getattr(config, name) for name in ENGINE)


def estimate(config: Config) -> dict[str, float]:
    """Answers, calls without retries, and at most so many tokens and USD, where the recipe states prices."""
    return _cost(config, config.max_tokens, config.judge_max_tokens)


def expected(config: Config) -> dict[str, float]:
    """The same with answers and judgements of usual length."""
    return _cost(config, min(config.max_tokens, ANSWER_TOKENS), min(config.judge_max_tokens, JUDGEMENT_TOKENS))


def _cost(config: Config, answer: int, judgement: int) -> dict[str, float]:
    found = judging_cost(config.judge_models, config.asked + len(calibration.rows()) * config.calibrate, judgement)
    found["tokens"] += config.asked * answer
    usd = config.model.price(config.asked * PROMPT_TOKENS, config.asked * answer) if config.model else 0.0
    return {"completions": config.asked, **found} | ({"USD": found.get("USD", 0) + usd} if usd else {})


def judging_cost(judges: Sequence[Model], items: int, tokens: int) -> dict[str, float]:
    """What so many items cost with all judges, at so many tokens a reply."""
    usd = sum(model.price(items * SCORING_TOKENS, items * tokens) for model in judges)
    calls = items * len(judges)
    return {"calls": calls, "tokens": calls * tokens} | ({"USD": usd} if usd else {})


def run(config: Config, inputs: Mapping[str, Path], out: Path, *, parts: Parts) -> Facts:
    """Sample the answers, then let every judge score the calibration set and the answers."""
    sampling = Sampling(temperature=config.judge_temperature, max_tokens=config.judge_max_tokens)
    purse = Purse(config.budget)
    clients = [Client(model, parts, sampling, config.retries, purse) for model in config.judge_models]
    for client in clients:
        client.open()  # a judge that is not there is found before anything is sampled
    asked = {row["question_id"]: row for row in questions.read(inputs["questions"])}
    answers = _answered(config, inputs, asked, parts)
    items = [_item(asked[key], row["answer"]) for key, row in answers.items()]
    scored, calibrated = [], []
    for number, (name, client) in enumerate(zip(config.judges, clients, strict=True)):
        if config.calibrate:
            judged = ModelJudge(client, judge.SCORE, f"calibration-{number}", config.seed).judge(calibration.items())
            calibrated += [row | said(name, j) for row, j in zip(calibration.rows(), judged, strict=True)]
        judged = ModelJudge(client, judge.SCORE, f"judge-{number}", config.seed).judge(items)
        scored += [answers[j.id] | said(name, j) for j in judged]
    refuse_silence(scored, clients)
    rows.write(scored, COLUMNS, out / "data" / "scores" / "test-00000-of-00001.parquet")
    if config.calibrate:
        rows.write(calibrated, CALIBRATION, out / "data" / "calibration" / "test-00000-of-00001.parquet")
    summary = summarise(vars(config), scored, calibrated)
    files.write_json(out / "summary.json", summary)
    names = ("score", "score_item", "again", *(f"rubrics/{task}" for task in questions.TASKS))
    tokens = {"completions": len(answers), "tokens_out": sum(row["tokens_out"] for row in answers.values())}
    return {
        "rows": len(scored),
        "summary": summary,
        "trouble": {c.model.name: c.trouble for c in clients if c.trouble},
        "prompts": prompt.templates(*names),
        "cost": tokens | structured.spent(clients),
    }


def summarise(config: Mapping[str, Any], scored: Sequence[Row], calibrated: Sequence[Row]) -> dict[str, Any]:
    """Every number of the artifact, from its rows alone: what `permix verify` computes again."""
    from permix.results import fidelity

    row = variant.VARIANTS.get(config["variant"])
    return {
        "variant": config["variant"],
        "title": row.title if row else config["variant"],
        "base": config["base"],
        "seed": config["seed"],
        **fidelity.of_scores(scored, config["text_writers"]),
        "calibration": {
            name: calibration.result([row for row in calibrated if row["judge"] == name])
            for name in dict.fromkeys(row["judge"] for row in calibrated)
        },
    }


def read(folder: Path, part: str = "scores") -> list[Row]:
    """The rows of a personagym artifact: its scores, or the judges' of the calibration set ([] where it has none)."""
    path = folder / "data" / part / "test-00000-of-00001.parquet"
    return rows.read(path) if path.is_file() else []


def replay(
    folder: Path, config: Mapping[str, Any]
) -> tuple[dict[str, list[Row]], dict[str, list[Row]], dict[str, Any]]:
    """The rows as they are stored, the same read anew from the raw replies, and the summary of those."""
    stored = {part: read(folder, part) for part in ("scores", "calibration")}
    anew = {part: [judge.again(row, judge.SCORE) for row in found] for part, found in stored.items()}
    return stored, anew, summarise(config, anew["scores"], anew["calibration"])


def said(name: str, judgement: Judgement) -> Row:
    """The columns of what the judge called `name` said."""
    found = {"model": judgement.model, "score": judgement.score, "status": judgement.status}
    return {"judge": name, **found, "retries": judgement.retries, "raw": list(judgement.raw)}


def refuse_silence(judged: Sequence[Row], clients: Sequence[Client]) -> None:
    """Raise PermixError where no judge gave any score: there is nothing to publish."""
    if all(row["score"] is None for row in judged):
        counts = Counter(row["status"] for row in judged)
        what = ", ".join(f"{count} x {status}" for status, count in sorted(counts.items()))
        why = next((client.trouble for client in clients if client.trouble), "the next try asks for all anew.")
        raise PermixError(f"No judge gave a score ({what}): {why}")


def _answered(config: Config, inputs: Mapping[str, Path], asked: Mapping[str, Row], parts: Parts) -> dict[str, Row]:
    """One row for each question, still without a judge."""
    adapter = Adapter(inputs["adapter"], parts.digests["adapter"]) if "adapter" in inputs else None
    sampling = Sampling(temperature=config.temperature, top_p=config.top_p, max_tokens=config.max_tokens)
    requests, found = [], {}
    for key, row in asked.items():
        chat = prompt.messages(row["question"], Persona(row["persona"], "", row["system_prompt"]), "plain")
        seed = targets.seed_of("personagym", config.seed, config.variant, key)
        requests.append(Request(key, chat, sampling, seed, adapter))
        kept = {name: row[name] for name in ("question_id", "persona", "category", "task", "question")}
        found[key] = kept | {"question_writer": row["writer"], "seed": seed}
    if config.model:
        sampler = parts.sampler(config.model.endpoint())
    else:
        engine = {name: getattr(config, name) for name in ENGINE}
        sampler = parts.sampler(Engine(base=inputs["base"], threads=parts.threads, **engine))
    for done in sampler.sample(requests, journal=parts.work / "answers.jsonl", progress=parts.progress):
        sampled = {"answer": done.text, "finish": done.finish, "tokens_out": done.tokens_out}
        found[done.id] |= sampled | {"adapter_digest": done.adapter_digest, "base_dtype": sampler.dtype}
    if failed := sum(row["finish"] == "error" for row in found.values()):
        raise PermixError(f"{failed} answers failed (engine_error): run it again, only these are made anew.")
    return found


def _item(row: Row, answer: str) -> Item:
    chat = prompt.scoring(row["system_prompt"], row["task"], row["question"], row["examples"] or (), answer)
    return Item(row["question_id"], chat)


def _writers(recipe: "Recipe", name: str) -> tuple[str, ...]:
    """The models that wrote what the variant is trained on; none where it is gold, a reward, or the toy world's."""
    row = variant.get(name)
    author = recipe.settings("rewrites").get("model", "gpt-5-mini") if row.target == "styled" else row.teacher
    return (recipe.model(author).model,) if author and author != "toy" else ()
