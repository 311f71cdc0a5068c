"""Measure how well one variant stays in character: its answers to the personas' questions, scored by judges (C.2).

In:  questions; base, unless the model is served; an adapter (none for base); upstream's prompts, if they are used
Out: data/scores/test-00000-of-00001.parquet: one row per question and judge (COLUMNS);
     data/calibration/test-00000-of-00001.parquet: the judges' scores of answers of known quality;
     data/checks/test-00000-of-00001.parquet: the judges' scores of answers with changed position or length;
     summary.json: every number, a function of the rows

Every question is a chat of one turn: the persona as system message, then the question. A judge reads persona, question
and answer with a rubric from 1 to 5 and an example of each score (permix.judging.procedure). A judge's failure leaves a
score missing; a failed answer stops the publication.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from permix import files, parquet
from permix.errors import BadInput
from permix.experiment.models import Model
from permix.experiment.recipe import Recipe
from permix.judging import answers, calibration, checks, judge, own, panel, procedure, structured, upstream
from permix.judging.procedure import Procedure
from permix.paper import variants
from permix.parquet import Row
from permix.sampling.sampler import Backend, Sampling
from permix.stage import Facts, Folders, Replay, Stage, StageContext, Tables, recipe_field, setting, unhashed
from permix.stages import questions, sweep
from permix.stages.shared import models

COLUMNS = answers.COLUMNS | panel.JUDGEMENT
CALIBRATION = dict.fromkeys(("id", "group", "persona", "task", "question", "answer"), "string") | panel.JUDGEMENT
CHECKS = dict.fromkeys(("question_id", "persona", "check"), "string") | panel.JUDGEMENT
PARTS = {"scores": COLUMNS, "calibration": CALIBRATION, "checks": CHECKS}
PROMPT_TOKENS, ANSWER_TOKENS = 120, 250  # of a question and its answer, for the estimate


@dataclass(frozen=True, kw_only=True)
class Config(panel.JudgedConfig):
    """The engine's settings come from [sweep] unless [personagym] sets them; `temperature`, `top_p` and `max_tokens`
    default to PersonaGym's. `model` is a served model, and `base` its name on the server. `text_writers` are the models
    that wrote the variant's training targets, and the examples for a dataset's questions.
    """

    TABLE: ClassVar[str] = "personagym"

    variant: str = recipe_field()
    base: str = recipe_field()
    base_slug: str = recipe_field()
    toy: bool = recipe_field(False)
    adapter: str = recipe_field("", unhashed=True)  # its content is hashed
    model: Model | None = recipe_field(None, unhashed=True)
    questions: str = recipe_field()
    text_writers: tuple[str, ...] = recipe_field(())
    # For the estimate: the number of questions, and of the replies that judge their answers.
    asked: int = recipe_field(0, unhashed=True)
    groups: int = recipe_field(0, unhashed=True)
    temperature: float = 0.9
    top_p: float = 0.9
    max_tokens: int = 1024
    batch_size: int = 256
    dtype: str = "auto"
    backend: Backend = "transformers"
    gpus: int = unhashed(1)
    tensor_parallel: int = unhashed(1)
    max_lora_rank: int = unhashed(16)
    calibrate: bool = setting(True, help="also let the judges score answers of known quality")
    tiebreaker: str = setting("", help="further judge for answers whose scores differ by `dispute` or more")
    dispute: int = setting(2, help="difference of two scores from which the tiebreaker decides")
    checks: int = setting(0, help="number of answers that are scored again with changed position and length")
    # The content of upstream is hashed.
    upstream: str = unhashed("", help="follow PersonaGym's own procedure, with its prompts from this Hub dataset")

    def __post_init__(self) -> None:
        super().__post_init__()
        self.refuse_below(1, "max_tokens", "batch_size", "gpus", "tensor_parallel", "max_lora_rank", "dispute")
        self.refuse_below(0, "temperature", "checks")
        if self.tiebreaker and (len(self.judges) < 2 or self.tiebreaker in self.judges):
            raise self.refused("tiebreaker", "one more than two judges")
        if self.upstream and (self.tiebreaker or self.checks):
            raise BadInput("[personagym] upstream has neither tiebreaker nor checks: omit them, or omit upstream.")

    @property
    def panel(self) -> tuple[str, ...]:
        """The names of all judges."""
        return (*self.judges, *([self.tiebreaker] if self.tiebreaker else []))


def configs(recipe: Recipe) -> list[Config]:
    """Return one Config for each variant and seed, if the recipe has a table [personagym]."""
    if "personagym" not in recipe.tables:
        return []
    engine = {name: value for name, value in recipe.settings("sweep").items() if name in models.ENGINE}
    settings = engine | recipe.settings("personagym")
    tiebreaker = settings.get("tiebreaker", "")
    names = [*settings.get("judges", Config.judges), *([tiebreaker] if tiebreaker else [])]
    (question_config,) = questions.configs(recipe)
    writer = question_config.writer
    example_writers = [writer.model] if writer and question_config.dataset else []  # else the questions name it
    shared: dict[str, Any] = {
        "org": recipe.org,
        "tag": recipe.tag,
        "questions": questions.repository(recipe),
        "judge_models": tuple(structured.served(recipe.model(name), "[personagym] judges") for name in names),
        "asked": questions.count(question_config),
        "groups": questions.groups(question_config),
        **settings,
    }
    return [
        Config(
            seed=seed,
            text_writers=(*_writers(recipe, name), *example_writers),
            **sweep.precision(model) | shared | model,
        )
        for name, seed in recipe.runs()
        for model in [sweep.measured(recipe, name, seed)]
    ]


def target(config: Config) -> str:
    """Return `datasets/org/permix-personagym-<base-slug>-<variant>`."""
    return f"datasets/{config.name(f'permix-personagym-{config.base_slug}-{config.variant}')}"


def repository(org: str, tag: str, base_slug: str, name: str, seed: int) -> str:
    """Return the repository of a variant's scores, named like its sweep, for the stages that read it."""
    return sweep.repository(org, tag, base_slug, name, seed).replace("/permix-sweep-", "/permix-personagym-")


def inputs(config: Config) -> dict[str, str]:
    """Return the questions, the base unless the model is served, and the adapter and upstream's prompts, if any."""
    repositories = {"base": "" if config.model else config.base, "adapter": config.adapter}
    repositories |= {"questions": config.questions}
    repositories |= {"upstream": f"datasets/{config.upstream}" if config.upstream else ""}
    return {name: repo for name, repo in repositories.items() if repo}


def estimate(config: Config) -> dict[str, float]:
    """Return answers, calls (the tiebreaker's always, no retries), maximal tokens, and USD if prices are stated."""
    return _cost(config, config.max_tokens, config.judge_max_tokens)


def expected(config: Config) -> dict[str, float]:
    """Return the same with answers and judgements of usual length."""
    return _cost(config, min(config.max_tokens, ANSWER_TOKENS), min(config.judge_max_tokens, panel.JUDGEMENT_TOKENS))


def _cost(config: Config, answer: int, judgement: int) -> dict[str, float]:
    judges, answers = config.judge_models, config.asked
    examined = len(calibration.rows()) * config.calibrate + len(checks.CHECKS) * min(config.checks, answers)
    cost: dict[str, float] = {"completions": answers, "tokens": answers * answer}
    cost |= {"USD": config.model.price(answers * PROMPT_TOKENS, answers * answer) if config.model else 0.0}
    for part in (
        panel.cost(judges, answers, judgement) | {"calls": config.groups * len(judges)},
        panel.cost(judges[: len(config.judges)], examined, judgement),
    ):
        cost |= {unit: cost.get(unit, 0) + amount for unit, amount in part.items()}
    return {unit: amount for unit, amount in cost.items() if amount or unit != "USD"}


def check(config: Config, inputs: Mapping[str, Path]) -> None:
    """Read upstream's prompts; BadInput for a mistake in them, before anything is paid for."""
    procedure.of(inputs.get("upstream"))


def run(config: Config, inputs: Mapping[str, Path], out: Path, *, context: StageContext) -> Facts:
    """Sample the answers; every judge then scores the calibration set, the answers, and the checks."""
    judges = panel.Panel(config.panel, config, context)
    judges.reach()  # a missing judge is an error before anything is sampled
    gym = procedure.of(inputs.get("upstream"))
    question_rows = {row["question_id"]: row for row in questions.read(inputs["questions"])}
    adapter = models.adapter(inputs, context)
    sampling = Sampling(temperature=config.temperature, top_p=config.top_p, max_tokens=config.max_tokens)
    requests, answered = answers.requests(question_rows, gym, sampling, (config.seed, config.variant), adapter)
    sampler = models.open_sampler(config.model, inputs.get("base"), config, context)
    completions = list(sampler.sample(requests, journal=context.work / "answers.jsonl", progress=context.progress))
    answers.fill(answered, completions, sampler.dtype)
    tables = _judge(config, judges, gym, question_rows, answered)
    for part, columns in PARTS.items():
        if tables[part]:
            parquet.write(tables[part], columns, parquet.data_file(out, part))
    summary = summarise(vars(config), tables)
    files.write_json(out / "summary.json", summary)
    costs = models.spent(config.model, completions), judges.spent
    return {
        "rows": len(tables["scores"]),
        "summary": summary,
        "trouble": judges.trouble,
        "prompts": gym.prompts(),
        "not_copied": list(gym.not_copied),
        "cost": {unit: sum(cost.get(unit, 0) for cost in costs) for unit in costs[0] | costs[1]},
    }


def _judge(
    config: Config, judges: panel.Panel, gym: Procedure, question_rows: Mapping[str, Row], answered: Mapping[str, Row]
) -> dict[str, list[Row]]:
    """Return the rows of the PARTS; questions and answers are by question id."""
    from permix.results.measures import fidelity

    texts = {key: row["answer"] for key, row in answered.items()}
    known, examined = {row["id"]: row for row in calibration.rows()}, calibration.items() if config.calibrate else []
    check_rows, check_items = checks.chosen(question_rows, texts, config.checks)
    tables: dict[str, list[Row]] = {part: [] for part in PARTS}
    for name in config.judges:
        tables["calibration"] += judges.rows(name, "calibration", judge.SCORE, examined, known)
        judgements = gym.judge(judges.clients[name], judges.journal(name, "judge"), question_rows, texts, config.seed)
        tables["scores"] += panel.judged_rows(name, judgements, answered)
        tables["checks"] += judges.rows(name, "check", judge.SCORE, check_items, check_rows)
    judges.refuse_silence(tables["scores"])
    if config.tiebreaker:
        disputed = {key: texts[key] for key in fidelity.disputed(tables["scores"], config.dispute)}
        judgements = gym.judge(judges.clients[config.tiebreaker], "tiebreaker", question_rows, disputed, config.seed)
        tables["scores"] += panel.judged_rows(config.tiebreaker, judgements, answered)
    return tables


def summarise(config: Mapping[str, Any], tables: Mapping[str, Sequence[Row]]) -> dict[str, Any]:
    """Return every number of the artifact, from the rows of its PARTS only."""
    from permix.results.measures import fidelity

    variant, calibrated = variants.VARIANTS.get(config["variant"]), tables["calibration"]
    return {
        "variant": config["variant"],
        "title": variant.title if variant else config["variant"],
        "base": config["base"],
        "seed": config["seed"],
        **fidelity.of_scores(tables["scores"], config["text_writers"], config["tiebreaker"]),
        "calibration": {
            name: calibration.result([row for row in calibrated if row["judge"] == name])
            for name in dict.fromkeys(row["judge"] for row in calibrated)
        },
        "checks": fidelity.of_checks(tables["checks"], tables["scores"]),
    }


def read(folder: Path, part: str = "scores") -> list[Row]:
    """Return the rows of one of the PARTS of a personagym artifact; [] if it lacks the part."""
    path = parquet.data_file(folder, part)
    return parquet.read(path) if path.is_file() else []


def replay(config: Mapping[str, Any], folder: Path, inputs: Folders) -> tuple[Tables, Tables, dict[str, Any]]:
    """Read the raw replies again; return the stored rows, the rows read again, and the summary of the latter."""
    stored = {part: read(folder, part) for part in PARTS}
    replayed = {part: own.again(rows) for part, rows in stored.items()}
    if config["upstream"]:
        replayed["scores"] = upstream.again(stored["scores"])
    return stored, replayed, summarise(config, replayed)


def _writers(recipe: Recipe, name: str) -> tuple[str, ...]:
    """Return the models that wrote the variant's targets; none for gold targets, rewards, and the toy world."""
    variant = variants.get(name)
    writer = recipe.settings("rewrites").get("model", "gpt-5-mini") if variant.target == "styled" else variant.teacher
    return (recipe.model(writer).model,) if writer and writer != "toy" else ()


STAGE = Stage(
    name="personagym",
    card="personagym",
    version=2,  # judges read the persona's description; how scores follow the answers' length
    config=Config,
    configs=configs,
    target=target,
    inputs=inputs,
    run=run,
    check=check,
    group=models.group,
    estimate=estimate,
    expected=expected,
    needs=models.packages,
    replay=Replay("judgements read again from raw replies", replay),
)
