"""Build the training set of one variant: problems, with or without a persona drawn for each (section 4.1, Algorithm 1).

In:  personas (pool train); the task's dataset where it has one; targets (stages rewrites and teachers) where they are
     not the gold rationales; the base's tokenizer where rows are left out by length; the recipe's benchmarks, for
     the words that they share with the mixture (facts, no part of the result)
Out: data/train-00000-of-00001.parquet: problem_id, question, gold, kind, persona (null without), prompt (messages),
     for SFT also completion (the target, one message)

A persona is drawn uniformly for every instance; in a further epoch the same problem meets another draw.
"""

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
from permix.parquet import Row
from permix.prompting import persona
from permix.prompting import prompts as prompt
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
        """Refuse numbers out of range."""
        self.refuse_below(1, "epochs")
        self.refuse_below(0, "max_prompt_tokens", "max_completion_tokens")


def configs(recipe: Recipe) -> list[Config]:
    """One for each trained variant and seed."""
    settings = recipe.settings("mixtures")
    by_length = settings.get("max_prompt_tokens") or settings.get("max_completion_tokens")
    return [
        Config(
            org=recipe.org,
            tag=recipe.tag,
            seed=seed,
            variant=name,
            task=recipe.task,
            personas=recipe.personas_repo,
            targets=_targets(recipe, variants.get(name)),
            base=recipe.base_repo if by_length else "",
            benchmarks=recipe.benchmarks,
            **settings,
        )
        for name, seed in recipe.runs()
        if variants.get(name).trainer != "none"
    ]


def _targets(recipe: Recipe, row: variants.Variant) -> str:
    """The dataset that holds the row's targets; "" where they are the gold rationales or there are none."""
    if row.target == "styled":
        return rewrites.target(rewrites.configs(recipe)[0])
    if row.target == "teacher":
        return next(teachers.target(config) for config in teachers.configs(recipe) if config.teacher == row.teacher)
    return ""


def target(config: Config) -> str:
    """`datasets/org/permix-mixture-<task>-<variant>`."""
    return f"datasets/{config.name(f'permix-mixture-{config.task.name}-{config.variant}')}"


def inputs(config: Config) -> dict[str, str]:
    """The personas, what the problems, the targets and the lengths come from, and the benchmarks."""
    task = "" if config.targets else config.task.repo  # targets come with their problems
    named = {"personas": config.personas, "task": task, "targets": config.targets, "base": config.base}
    named |= {f"benchmark/{source.name}": source.repo for source in config.benchmarks}
    return {name: repo for name, repo in named.items() if repo}


def reads(config: Config) -> dict[str, tuple[str, ...]]:
    """Of the benchmarks' datasets what their splits need."""
    return benchmarks.reads(config.benchmarks)


def check(config: Config, inputs: Mapping[str, Path]) -> None:
    """Read pools and problems that come from the Hub, so that what is wrong with them is found before training."""
    if "personas" in inputs:
        _pool(inputs["personas"])
    if "task" in inputs:
        _problems(config, inputs)


def run(config: Config, inputs: Mapping[str, Path], out: Path, *, context: StageContext) -> Facts:
    """Write the mixture; every gold must be one that the verifier can check, every gold rationale must lead to it."""
    pool = _pool(inputs["personas"])
    found = list(_given(config, pool, inputs["targets"]) if config.targets else _drawn(config, pool, inputs))
    kept = list(_short(config, found, inputs["base"])) if config.base else found
    if not kept:
        limits = "[mixtures] max_prompt_tokens or max_completion_tokens"
        raise BadInput(f"Every one of the {len(found)} rows for {config.variant} is longer than {limits}: raise them.")
    write(kept, out / "data" / "train-00000-of-00001.parquet")
    drawn = Counter(row["persona"] or "none" for row in kept)
    problems = {row["problem_id"] for row in kept}
    facts: Facts = {"rows": len(kept), "problems": len(problems), "personas": dict(sorted(drawn.items()))}
    facts["overlap"] = {
        source.name: overlap.of_mixture(kept, benchmarks.load(source, inputs.get(f"benchmark/{source.name}")))
        for source in config.benchmarks
    }
    if config.base:
        facts["too_long"] = len(found) - len(kept)
    if config.targets:
        facts["tokens_of_targets"] = sum(row["tokens_out"] for row in kept) // config.epochs
    return facts


def _drawn(config: Config, pool: Sequence[persona.Persona], inputs: Mapping[str, Path]) -> Iterator[Row]:
    """The task's problems, each with the persona drawn for it where the variant mixes them."""
    row = variants.get(config.variant)
    problems = _problems(config, inputs)
    for epoch in range(config.epochs):
        for problem in problems:
            drawn = persona.draw(pool, config.seed, problem.id, epoch) if row.persona else None
            yield {
                "problem_id": problem.id,
                "question": problem.question,
                "gold": problem.gold,
                "kind": problem.kind,
                "persona": drawn.key if drawn else None,
                "prompt": prompt.messages(problem.question, drawn, config.task.instruction),
                **({"completion": _says(problem.rationale)} if row.target == "gold" else {}),
            }


def _given(config: Config, pool: Sequence[persona.Persona], folder: Path) -> Iterator[Row]:
    """The rows of a dataset of targets, in which personas are already drawn."""
    row = variants.get(config.variant)
    part = {"teacher": "data/persona" if row.persona else "data/plain"}.get(row.target, "data")
    table = parquet.read(folder / part / "train-00000-of-00001.parquet")
    by_key = {p.key: p for p in pool}
    for found in table:
        if not found["completion"].strip():
            raise BadInput(
                f"The target of problem {found['problem_id']} in {config.targets} is empty: set keep_wrong = false in "
                "[teachers], or verify = true in [rewrites]."
            )
        if found["persona"] not in (by_key if row.persona else (None,)):
            raise BadInput(f"{config.targets} has the persona {found['persona']!r}, which is not in the training pool.")
    for _ in range(config.epochs):
        for found in table:
            drawn = by_key[found["persona"]] if row.persona else None
            yield {name: found[name] for name in (*TEXTS, "tokens_out")} | {
                "prompt": prompt.messages(found["question"], drawn, config.task.instruction),
                "completion": _says(found["completion"]),
            }


def _says(target: str) -> prompt.Messages:
    return [{"role": "assistant", "content": target}]


def _problems(config: Config, inputs: Mapping[str, Path]) -> list[Problem]:
    """The task's problems; BadInput for a gold that cannot be checked, or a gold rationale that does not lead to it."""
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
                found = "no answer" if verdict.extracted is None else repr(verdict.extracted)
                raise BadInput(
                    f"The rationale of problem {problem.id} ends in {found}, its gold is "
                    f"{problem.gold!r}: correct one of them or remove the row."
                )
    return problems


def _short(config: Config, table: Sequence[Row], base: Path) -> Iterator[Row]:
    """The rows that keep the limits on tokens."""
    from transformers import AutoTokenizer

    from permix.training.rows import token_ids

    tokenizer = AutoTokenizer.from_pretrained(base)
    if tokenizer.chat_template is None:
        raise BadInput(f"{config.base} has no chat template: choose an instruct model or add one to its tokenizer.")
    prompts = token_ids(tokenizer, [row["prompt"] for row in table], add_generation_prompt=True)
    targets = [row["completion"][0]["content"] if "completion" in row else "" for row in table]
    for row, asked, said in zip(table, prompts, tokenizer(targets, add_special_tokens=False)["input_ids"], strict=True):
        if len(asked) <= (config.max_prompt_tokens or len(asked)) and len(said) <= (
            config.max_completion_tokens or len(said)
        ):
            yield row


def write(table: Sequence[Row], path: Path) -> None:
    """Write the rows of a mixture, with their targets where they have any."""
    chats = [name for name in ("prompt", "completion") if name in table[0]]
    parquet.write(table, dict.fromkeys(TEXTS, "string") | dict.fromkeys(chats, "messages"), path)


def _pool(folder: Path) -> list[persona.Persona]:
    """The training pool, disjoint from the one that is measured on."""
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
    reads=reads,
    check=check,
    facts_only_inputs=("benchmark/",),
)
