"""Let a teacher answer every training problem: the targets of SeqKD and PerMix-SeqKD (section 4.2.1, B.3).

In:  personas (pool train); the task's dataset, if it has one; the teacher, if it runs on this machine
Out: data/{plain,persona}/train-00000-of-00001.parquet: one row per problem (shared.written_targets.COLUMNS)

In `plain` the teacher gets the problem only, in `persona` also a drawn persona. Sampling is greedy: B.3 defines SeqKD
by the mode of the teacher's output. The paper does not mention a filter, so wrong answers stay unless `keep_wrong` is
false. The artifact always has both configurations, so that it does not depend on the recipe's variants.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from permix import benchmarks, parquet
from permix.benchmarks import sizes
from permix.errors import PermixError
from permix.experiment.recipe import Recipe
from permix.paper import variants
from permix.prompting import persona, prompts
from permix.sampling.sampler import Request, Sampling, seed_of
from permix.stage import Facts, Stage, StageContext, recipe_field, setting
from permix.stages.shared import models, written_targets

KINDS = ("plain", "persona")
PROMPT_TOKENS = 160  # of a GSM8K problem with a persona, for the estimate


@dataclass(frozen=True, kw_only=True)
class Config(written_targets.WriterConfig):
    """`teacher` is a name in permix.paper.variants."""

    TABLE: ClassVar[str] = "teachers"

    teacher: str = recipe_field()
    keep_wrong: bool = setting(True, help="keep wrong answers as targets. Otherwise they are omitted and counted")


def configs(recipe: Recipe) -> list[Config]:
    """Return one Config for each teacher of a variant, with the recipe's first seed."""
    teachers = dict.fromkeys(variants.get(name).teacher for name in recipe.variants)
    return [
        Config.of(recipe, teacher=name, writer=recipe.model(name), task=recipe.task, personas=recipe.personas_repo)
        for name in teachers
        if name
    ]


def target(config: Config) -> str:
    """Return `datasets/org/permix-<task>-teacher-<teacher>`."""
    return f"datasets/{config.name(f'permix-{config.task.name}-teacher-{config.teacher}')}"


inputs = written_targets.inputs


def estimate(config: Config) -> dict[str, float]:
    """Return the completions, the maximum of tokens, and their USD if the recipe states prices."""
    completions = len(KINDS) * sizes.problems(config.task)
    return written_targets.cost(config, completions, PROMPT_TOKENS, config.max_tokens)


def run(config: Config, inputs: Mapping[str, Path], out: Path, *, context: StageContext) -> Facts:
    """Sample and grade every problem; PermixError if the engine or the verifier failed."""
    from permix.verifier import Verifier

    pool = persona.load(inputs["personas"], "train")
    problems = benchmarks.load(config.task, inputs.get("task"))
    sampling = Sampling(temperature=config.temperature, max_tokens=config.max_tokens)
    questions = {}  # by request id
    for kind in KINDS:
        for problem in problems:
            drawn = persona.draw(pool, config.seed, problem.id) if kind == "persona" else None
            chat = prompts.messages(problem.question, drawn, config.task.instruction)
            questions[f"{kind}|{problem.id}"] = kind, problem, drawn, chat
    requests = [
        Request(name, chat, sampling, seed_of("teachers", config.seed, config.teacher, name))
        for name, (*_, chat) in questions.items()
    ]
    sampler = models.open_sampler(config.writer, inputs.get("model"), config, context, config.budget)
    sampled = sampler.sample(requests, journal=context.work / "completions.jsonl", progress=context.progress)
    completions = {completion.id: completion for completion in sampled}
    with Verifier() as verifier:
        grades = verifier.grade_many((completions[name].text, problem) for name, (_, problem, *_) in questions.items())
    checked = written_targets.checked([completions[name] for name in questions], grades)
    verdicts = dict(zip(questions, checked, strict=True))

    facts: Facts = {"rows": 0}
    for kind in KINDS:
        rows = [
            written_targets.row(config, problem, drawn, chat, completions[name], verdicts[name])
            for name, (kind_of_row, problem, drawn, chat) in questions.items()
            if kind_of_row == kind
        ]
        targets = [
            row for row in rows if row["status"] == "correct" or (config.keep_wrong and row["status"] != "refused")
        ]
        if not targets:
            raise PermixError(f"{config.teacher} answered no problem right: set keep_wrong or take another teacher.")
        parquet.write(targets, written_targets.COLUMNS, parquet.data_file(out, kind, "train"))
        facts["rows"] += len(targets)
        facts[kind] = {"rows": len(targets), "left_out": len(rows) - len(targets), **_quality(rows)}
    return facts | {"cost": models.spent(config.writer, completions.values())}


def _quality(rows: Sequence[parquet.Row]) -> Facts:
    return {
        "accuracy": sum(row["status"] == "correct" for row in rows) / len(rows),
        "cut": sum(row["finish"] == "length" for row in rows),
        "statuses": dict(sorted(Counter(row["status"] for row in rows).items())),
    }


STAGE = Stage(
    name="teachers",
    card="teacher",
    version=1,
    config=Config,
    configs=configs,
    target=target,
    inputs=inputs,
    run=run,
    estimate=estimate,
    needs=written_targets.packages,
)
