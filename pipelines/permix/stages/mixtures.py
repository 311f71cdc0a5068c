"""Build the training set of one variant: problems, with or without a persona drawn for each (section 4.1, Algorithm 1).

In:  personas (pool train); the task's dataset, if it has one; targets (stages rewrites and teachers), unless they are
     the gold rationales; the base's tokenizer, if rows are omitted by length; the recipe's benchmarks, whose overlap
     with the mixture is a fact and not part of the result
Out: data/train-00000-of-00001.parquet: problem_id, question, gold, kind, persona (null without), prompt (messages),
     for SFT also completion (the target, one message)

A persona is drawn uniformly for every instance, anew for the same problem in each epoch.
"""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from permix import benchmarks, parquet
from permix.benchmarks import Source
from permix.errors import BadInput, PermixError
from permix.experiment.recipe import Recipe
from permix.paper import variants
from permix.prompting import persona, prompts
from permix.results.measures import overlap
from permix.stage import Facts, Stage, StageConfig, StageContext, recipe_field, setting
from permix.stages import rewrites, teachers
from permix.verifier import Problem, Verifier

TEXTS = ("problem_id", "question", "gold", "kind", "persona")


@dataclass(frozen=True, kw_only=True)
class Config(StageConfig):
    """`task.limit` bounds the problems; `targets` is the dataset that holds the targets."""

    TABLE: ClassVar[str] = "mixtures"

    variant: str = recipe_field()
    task: Source = recipe_field()
    personas: str = recipe_field()
    targets: str = recipe_field("")
    base: str = recipe_field("")
    benchmarks: tuple[Source, ...] = recipe_field((), unhashed=True)
    epochs: int = setting(1, help="passes over the task, each with new persona draws")
    max_prompt_tokens: int = setting(0, help="omit rows with a longer prompt (0: no limit). No prompt is cut")
    max_completion_tokens: int = setting(0, help="omit rows with a longer target (0: no limit)")

    def __post_init__(self) -> None:
        self.refuse_below(1, "epochs")
        self.refuse_below(0, "max_prompt_tokens", "max_completion_tokens")


def configs(recipe: Recipe) -> list[Config]:
    """Return one Config for each trained variant and seed."""
    settings = recipe.settings("mixtures")
    by_length = settings.get("max_prompt_tokens") or settings.get("max_completion_tokens")
    shared = {"task": recipe.task, "personas": recipe.personas_repo, "benchmarks": recipe.benchmarks}
    shared |= {"base": recipe.base_repo if by_length else ""}
    return [
        Config.of(recipe, seed, variant=name, targets=_targets(recipe, variants.get(name)), **shared)
        for name, seed in recipe.runs()
        if variants.get(name).trainer != "none"
    ]


def _targets(recipe: Recipe, variant: variants.Variant) -> str:
    """Return the dataset of a variant's targets; "" for gold rationales and for a variant without targets."""
    if variant.target == "styled":
        return rewrites.target(rewrites.configs(recipe)[0])
    if variant.target == "teacher":
        return next(teachers.target(config) for config in teachers.configs(recipe) if config.teacher == variant.teacher)
    return ""


def target(config: Config) -> str:
    """Return `datasets/org/permix-mixture-<task>-<variant>`."""
    return f"datasets/{config.name(f'permix-mixture-{config.task.name}-{config.variant}')}"


def inputs(config: Config) -> dict[str, str]:
    """Return the personas, the sources of problems, targets and lengths, and the benchmarks."""
    task = "" if config.targets else config.task.repo  # a dataset of targets has their problems
    repositories = {"personas": config.personas, "task": task, "targets": config.targets, "base": config.base}
    repositories |= {f"benchmark/{source.name}": source.repo for source in config.benchmarks}
    return {name: repo for name, repo in repositories.items() if repo}


def check(config: Config, inputs: Mapping[str, Path]) -> None:
    """Read pools and problems from the Hub; BadInput for a mistake in them, before training."""
    if "personas" in inputs:
        _pool(inputs["personas"])
    if "task" in inputs:
        _problems(config, inputs)


def run(config: Config, inputs: Mapping[str, Path], out: Path, *, context: StageContext) -> Facts:
    """Write the mixture; BadInput for a gold that the verifier cannot check, or a rationale with another answer."""
    pool = _pool(inputs["personas"])
    every = list(_from_targets(config, pool, inputs["targets"]) if config.targets else _from_task(config, pool, inputs))
    rows = list(_within_limits(config, every, inputs["base"])) if config.base else every
    if not rows:
        limits = "[mixtures] max_prompt_tokens or max_completion_tokens"
        raise BadInput(f"Every one of the {len(every)} rows for {config.variant} is longer than {limits}: raise them.")
    write(rows, parquet.data_file(out, split="train"))
    personas = Counter(row["persona"] or "none" for row in rows)
    problems = {row["problem_id"] for row in rows}
    facts: Facts = {"rows": len(rows), "problems": len(problems), "personas": dict(sorted(personas.items()))}
    facts["overlap"] = {
        source.name: overlap.of_mixture(rows, benchmarks.load(source, inputs.get(f"benchmark/{source.name}")))
        for source in config.benchmarks
    }
    if config.base:
        facts["too_long"] = len(every) - len(rows)
    if config.targets:
        facts["tokens_of_targets"] = sum(row["tokens_out"] for row in rows) // config.epochs
    return facts


def _from_task(config: Config, pool: Sequence[persona.Persona], inputs: Mapping[str, Path]) -> Iterator[parquet.Row]:
    """Yield a row for each of the task's problems, with a drawn persona if the variant mixes personas."""
    variant = variants.get(config.variant)
    problems = _problems(config, inputs)
    for epoch in range(config.epochs):
        for problem in problems:
            drawn = persona.draw(pool, config.seed, problem.id, epoch) if variant.persona else None
            yield {
                "problem_id": problem.id,
                "question": problem.question,
                "gold": problem.gold,
                "kind": problem.kind,
                "persona": drawn.key if drawn else None,
                "prompt": prompts.messages(problem.question, drawn, config.task.instruction),
                **({"completion": _completion(problem.rationale)} if variant.target == "gold" else {}),
            }


def _from_targets(config: Config, pool: Sequence[persona.Persona], folder: Path) -> Iterator[parquet.Row]:
    """Yield the rows of a dataset of targets, which has the drawn personas."""
    variant = variants.get(config.variant)
    part = {"teacher": "persona" if variant.persona else "plain"}.get(variant.target, "")
    targets = parquet.read(parquet.data_file(folder, part, "train"))
    by_key = {p.key: p for p in pool}
    for row in targets:
        if not row["completion"].strip():
            raise BadInput(
                f"The target of problem {row['problem_id']} in {config.targets} is empty: set keep_wrong = false in "
                "[teachers], or verify = true in [rewrites]."
            )
        if row["persona"] not in (by_key if variant.persona else (None,)):
            key = row["persona"]
            raise BadInput(f"{config.targets} has the persona {key!r}, which is not in the training pool.")
    for _ in range(config.epochs):
        for row in targets:
            drawn = by_key[row["persona"]] if variant.persona else None
            yield {name: row[name] for name in (*TEXTS, "tokens_out")} | {
                "prompt": prompts.messages(row["question"], drawn, config.task.instruction),
                "completion": _completion(row["completion"]),
            }


def _completion(target: str) -> prompts.Messages:
    return [{"role": "assistant", "content": target}]


def _problems(config: Config, inputs: Mapping[str, Path]) -> list[Problem]:
    """Return the task's problems; BadInput for a gold that cannot be checked, or a rationale with another answer."""
    problems = benchmarks.load(config.task, inputs.get("task"))
    with Verifier() as verifier:
        verifier.check_golds(problems)
        if variants.get(config.variant).target != "gold":
            return problems
        verdicts = verifier.grade_many((problem.rationale, problem) for problem in problems)
        for problem, verdict in zip(problems, verdicts, strict=True):
            if not problem.rationale.strip():
                raise BadInput(
                    f"Problem {problem.id} has no rationale, the target of {config.variant}: set [task] rationale to "
                    "the column that holds the worked solutions."
                )
            if verdict.status == "verifier_crash":
                raise PermixError(f"math-verify ended on the rationale of problem {problem.id}: run it again.")
            if verdict.status != "correct":
                answer = "no answer" if verdict.extracted is None else repr(verdict.extracted)
                raise BadInput(
                    f"The rationale of problem {problem.id} ends in {answer}, its gold is "
                    f"{problem.gold!r}: correct one of them or remove the row."
                )
    return problems


def _within_limits(config: Config, rows: Sequence[parquet.Row], base: Path) -> Iterator[parquet.Row]:
    from transformers import AutoTokenizer

    from permix.training.rows import token_ids

    tokenizer = AutoTokenizer.from_pretrained(base)
    if tokenizer.chat_template is None:
        raise BadInput(f"{config.base} has no chat template: choose an instruct model or add one to its tokenizer.")
    prompt_ids = token_ids(tokenizer, [row["prompt"] for row in rows], add_generation_prompt=True)
    targets = [row["completion"][0]["content"] if "completion" in row else "" for row in rows]
    target_ids = tokenizer(targets, add_special_tokens=False)["input_ids"]
    prompt_limit, target_limit = config.max_prompt_tokens or math.inf, config.max_completion_tokens or math.inf
    for row, prompt, completion in zip(rows, prompt_ids, target_ids, strict=True):
        if len(prompt) <= prompt_limit and len(completion) <= target_limit:
            yield row


def write(rows: Sequence[parquet.Row], path: Path) -> None:
    """Write the rows of a mixture, with their targets if they have any."""
    chats = [name for name in ("prompt", "completion") if name in rows[0]]
    parquet.write(rows, dict.fromkeys(TEXTS, "string") | dict.fromkeys(chats, "messages"), path)


def _pool(folder: Path) -> list[persona.Persona]:
    pool = persona.load(folder, "train")
    persona.refuse_overlap(pool, persona.load(folder, "eval"))
    return pool


STAGE = Stage(
    name="mixtures",
    card="mixture",
    version=1,
    config=Config,
    configs=configs,
    target=target,
    inputs=inputs,
    run=run,
    reads=lambda config: benchmarks.reads(config.benchmarks),
    check=check,
    facts_only_inputs=("benchmark/",),
)
