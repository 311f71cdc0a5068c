"""Measure how well one variant stays in character: its answers to the personas' questions, scored by judges (C.2).

In:  questions, base, an adapter (none for base), upstream's prompts where they are asked for; no base behind a server
Out: data/scores/test-00000-of-00001.parquet: one row per question and judge (COLUMNS);
     data/calibration/test-00000-of-00001.parquet: the judges' scores of answers whose order is known;
     data/checks/test-00000-of-00001.parquet: their scores of answers with only position or length changed;
     summary.json: every number, a function of the rows

Every question is a chat of one turn: the persona as system message, the question. A judge gets persona, question and
answer with a rubric from 1 to 5 and an example of each score (permix.judging.procedure). Score and answer are never
mixed up: a judge that fails leaves a score missing, an answer that failed stops the publication.
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
from permix.judging.panel import JUDGEMENT, JudgedConfig, Panel
from permix.paper import variants
from permix.parquet import Row
from permix.sampling.sampler import Backend, Sampling
from permix.stage import Facts, Replay, Stage, StageContext, recipe_field, setting, unhashed
from permix.stages import questions, sweep
from permix.stages.shared import models

COLUMNS = answers.COLUMNS | JUDGEMENT
CALIBRATION = dict.fromkeys(("id", "group", "persona", "task", "question", "answer"), "string") | JUDGEMENT
CHECKS = dict.fromkeys(("question_id", "persona", "check"), "string") | JUDGEMENT
PARTS = {"scores": COLUMNS, "calibration": CALIBRATION, "checks": CHECKS}
PROMPT_TOKENS, ANSWER_TOKENS = 120, 250  # of a question and its answer, for the estimate


@dataclass(frozen=True, kw_only=True)
class Config(JudgedConfig):
    """The engine's settings are those of [sweep] where [personagym] does not say otherwise, `temperature`, `top_p` and
    `max_tokens` PersonaGym's own for answers. `model` is a served model, of which `base` is the server's name.
    `text_writers`: the models that wrote the variant's training targets, and the examples for others' questions.
    """

    TABLE: ClassVar[str] = "personagym"

    variant: str = recipe_field()
    base: str = recipe_field()
    base_slug: str = recipe_field()
    toy: bool = recipe_field(False)
    adapter: str = recipe_field("", unhashed=True)  # its content is what is hashed
    model: Model | None = recipe_field(None, unhashed=True)
    questions: str = recipe_field()
    text_writers: tuple[str, ...] = recipe_field(())
    # For the estimate: how many questions, and in how many replies their answers are judged.
    asked: int = recipe_field(0, unhashed=True)
    groups: int = recipe_field(0, unhashed=True)
    temperature: float = 0.9
    top_p: float = 0.9
    max_tokens: int = 1024
    batch_size: int = 256
    dtype: str = "float32"
    backend: Backend = "transformers"
    gpus: int = unhashed(1)
    tensor_parallel: int = unhashed(1)
    max_lora_rank: int = unhashed(16)
    calibrate: bool = setting(True, help="also let the judges score answers of known quality")
    tiebreaker: str = setting("", help="further judge for answers whose scores differ by `dispute` or more")
    dispute: int = setting(2, help="difference of two scores from which the tiebreaker decides")
    checks: int = setting(0, help="number of answers that are scored again with changed position and length")
    upstream: str = unhashed(
        "", help="follow PersonaGym's own procedure, with its prompts from this Hub dataset"
    )  # its content is what is hashed

    def __post_init__(self) -> None:
        """Refuse numbers out of range, and what upstream's procedure does not have."""
        super().__post_init__()
        self.refuse_below(1, "max_tokens", "batch_size", "gpus", "tensor_parallel", "max_lora_rank", "dispute")
        self.refuse_below(0, "temperature", "checks")
        if self.tiebreaker and (len(self.judges) < 2 or self.tiebreaker in self.judges):
            raise self.refused("tiebreaker", "one more than two judges")
        if self.upstream and (self.tiebreaker or self.checks):
            raise BadInput("[personagym] upstream has neither tiebreaker nor checks: leave them out, or upstream.")

    @property
    def panel(self) -> tuple[str, ...]:
        """The names of all judges."""
        return (*self.judges, *([self.tiebreaker] if self.tiebreaker else []))


def configs(recipe: Recipe) -> list[Config]:
    """One for each variant and seed, where the recipe has a table [personagym]."""
    if "personagym" not in recipe.tables:
        return []
    engine = {name: value for name, value in recipe.settings("sweep").items() if name in models.ENGINE}
    settings = engine | recipe.settings("personagym")
    third = settings.get("tiebreaker", "")
    names = [*settings.get("judges", Config.judges), *([third] if third else [])]
    (asked,) = questions.configs(recipe)
    shown = [asked.writer.model] if asked.writer and asked.dataset else []  # else the writer of the questions
    shared: dict[str, Any] = {
        "org": recipe.org,
        "tag": recipe.tag,
        "questions": questions.repository(recipe),
        "judge_models": tuple(structured.served(recipe.model(name), "[personagym] judges") for name in names),
        "asked": questions.count(asked),
        "groups": questions.groups(asked),
        **settings,
    }
    return [
        Config(seed=seed, text_writers=(*_writers(recipe, name), *shown), **shared | sweep.measured(recipe, name, seed))
        for name, seed in recipe.runs()
    ]


def target(config: Config) -> str:
    """`datasets/org/permix-personagym-<base-slug>-<variant>`."""
    return f"datasets/{config.name(f'permix-personagym-{config.base_slug}-{config.variant}')}"


def repository(org: str, tag: str, base_slug: str, name: str, seed: int) -> str:
    """The repository of the scores of the variant `name`, for the stages that read it; named as its sweep is."""
    return sweep.repository(org, tag, base_slug, name, seed).replace("/permix-sweep-", "/permix-personagym-")


def inputs(config: Config) -> dict[str, str]:
    """The questions, the base where it is run here, the adapter and upstream's prompts where there are any."""
    found = {"base": "" if config.model else config.base, "adapter": config.adapter, "questions": config.questions}
    found["upstream"] = f"datasets/{config.upstream}" if config.upstream else ""
    return {name: repo for name, repo in found.items() if repo}


def group(config: Config) -> tuple[Any, ...]:
    """Variants of one base share an engine."""
    return config.base, config.model, *models.engine_settings(config).values()


def estimate(config: Config) -> dict[str, float]:
    """Answers, calls without retries, and at most so many tokens and USD, where the recipe states prices.

    The tiebreaker is counted with every answer, for nobody knows how often the others will differ.
    """
    return _cost(config, config.max_tokens, config.judge_max_tokens)


def expected(config: Config) -> dict[str, float]:
    """The same with answers and judgements of usual length."""
    return _cost(config, min(config.max_tokens, ANSWER_TOKENS), min(config.judge_max_tokens, panel.JUDGEMENT_TOKENS))


def _cost(config: Config, answer: int, judgement: int) -> dict[str, float]:
    judges, asked = config.judge_models, config.asked
    beside = len(calibration.rows()) * config.calibrate + len(checks.CHECKS) * min(config.checks, asked)
    found: dict[str, float] = {"completions": asked, "tokens": asked * answer}
    found |= {"USD": config.model.price(asked * PROMPT_TOKENS, asked * answer) if config.model else 0.0}
    for part in (
        panel.cost(judges, asked, judgement) | {"calls": config.groups * len(judges)},
        panel.cost(judges[: len(config.judges)], beside, judgement),
    ):
        found |= {unit: found.get(unit, 0) + amount for unit, amount in part.items()}
    return {unit: amount for unit, amount in found.items() if amount or unit != "USD"}


def check(config: Config, inputs: Mapping[str, Path]) -> None:
    """Read upstream's prompts before anything is paid for."""
    procedure.of(inputs.get("upstream"))


def run(config: Config, inputs: Mapping[str, Path], out: Path, *, context: StageContext) -> Facts:
    """Sample the answers, then let every judge score the calibration set, the answers, and what checks it."""
    judges = Panel(config.panel, config, context)
    judges.reach()  # a judge that is not there is found before anything is sampled
    way = procedure.of(inputs.get("upstream"))
    asked = {row["question_id"]: row for row in questions.read(inputs["questions"])}
    adapter = models.adapter(inputs, context)
    sampling = Sampling(temperature=config.temperature, top_p=config.top_p, max_tokens=config.max_tokens)
    requests, answered = answers.requests(asked, way, sampling, (config.seed, config.variant), adapter)
    sampler = models.open_sampler(config.model, inputs.get("base"), config, context)
    made = list(sampler.sample(requests, journal=context.work / "answers.jsonl", progress=context.progress))
    answers.fill(answered, made, sampler.dtype)
    texts = {key: row["answer"] for key, row in answered.items()}
    known, examined = {row["id"]: row for row in calibration.rows()}, calibration.items() if config.calibrate else []
    probes, probing = checks.chosen(asked, texts, config.checks)
    found: dict[str, list[Row]] = {part: [] for part in PARTS}
    for name in config.judges:
        found["calibration"] += judges.rows(name, "calibration", judge.SCORE, examined, known)
        said = way.judge(judges.clients[name], judges.journal(name, "judge"), asked, texts, config.seed)
        found["scores"] += panel.judged_rows(name, said, answered)
        found["checks"] += judges.rows(name, "check", judge.SCORE, probing, probes)
    judges.refuse_silence(found["scores"])
    if config.tiebreaker:
        open_ones = {key: texts[key] for key in _disputed(config, found["scores"])}
        said = way.judge(judges.clients[config.tiebreaker], "tiebreaker", asked, open_ones, config.seed)
        found["scores"] += panel.judged_rows(config.tiebreaker, said, answered)
    for part, columns in PARTS.items():
        if found[part]:
            parquet.write(found[part], columns, _file(out, part))
    summary = summarise(vars(config), found)
    files.write_json(out / "summary.json", summary)
    of_answers, of_judges = models.spent(config.model, made), judges.spent
    return {
        "rows": len(found["scores"]),
        "summary": summary,
        "trouble": judges.trouble,
        "prompts": way.prompts(),
        "not_copied": list(way.not_copied),
        "cost": {unit: of_answers.get(unit, 0) + of_judges.get(unit, 0) for unit in of_answers | of_judges},
    }


def summarise(config: Mapping[str, Any], found: Mapping[str, Sequence[Row]]) -> dict[str, Any]:
    """Every number of the artifact, from the rows of its PARTS alone: what `permix verify` computes again."""
    from permix.results.measures import fidelity

    row, calibrated = variants.VARIANTS.get(config["variant"]), found["calibration"]
    return {
        "variant": config["variant"],
        "title": row.title if row else config["variant"],
        "base": config["base"],
        "seed": config["seed"],
        **fidelity.of_scores(found["scores"], config["text_writers"], config["tiebreaker"]),
        "calibration": {
            name: calibration.result([row for row in calibrated if row["judge"] == name])
            for name in dict.fromkeys(row["judge"] for row in calibrated)
        },
        "checks": fidelity.of_checks(found["checks"], found["scores"]),
    }


def read(folder: Path, part: str = "scores") -> list[Row]:
    """The rows of one of the PARTS of a personagym artifact; [] where it has none."""
    return parquet.read(_file(folder, part)) if _file(folder, part).is_file() else []


def replay(
    config: Mapping[str, Any], folder: Path, inputs: Mapping[str, Path]
) -> tuple[dict[str, list[Row]], dict[str, list[Row]], dict[str, Any]]:
    """The rows as they are stored, the same read anew from the raw replies, and the summary of those."""
    stored = {part: read(folder, part) for part in PARTS}
    anew = {part: own.again(found) for part, found in stored.items()}
    if config["upstream"]:
        anew["scores"] = upstream.again(stored["scores"])
    return stored, anew, summarise(config, anew)


def _file(folder: Path, part: str) -> Path:
    return folder / "data" / part / "test-00000-of-00001.parquet"


def _disputed(config: Config, scored: Sequence[Row]) -> list[str]:
    from permix.results.measures import fidelity

    return fidelity.disputed(scored, config.dispute)


def _writers(recipe: Recipe, name: str) -> tuple[str, ...]:
    """The models that wrote what the variant is trained on; none where it is gold, a reward, or the toy world's."""
    row = variants.get(name)
    author = recipe.settings("rewrites").get("model", "gpt-5-mini") if row.target == "styled" else row.teacher
    return (recipe.model(author).model,) if author and author != "toy" else ()


STAGE = Stage(
    name="personagym",
    card="personagym",
    version=2,  # judges are shown the person's description; how scores follow the answers' length
    config=Config,
    configs=configs,
    target=target,
    inputs=inputs,
    run=run,
    check=check,
    group=group,
    estimate=estimate,
    expected=expected,
    needs=models.packages,
    replay=Replay("judgements read again from raw replies", replay),
)
