"""What stages teachers and rewrites have in common: a model writes the text that SFT learns from, one row each."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from permix import parquet
from permix.benchmarks import Source
from permix.errors import PermixError
from permix.experiment.models import Model
from permix.parquet import Row
from permix.prompting.persona import Persona
from permix.prompting.prompts import Messages
from permix.sampling.sampler import Backend, Completion, Dtype, packages_of
from permix.stage import StageConfig, recipe_field, unhashed
from permix.verifier import Problem, Verdict

COLUMNS = {
    "problem_id": "string",
    "question": "string",
    "gold": "string",
    "kind": "string",
    "persona": "string",
    "messages": "messages",
    "completion": "string",
    "extracted": "string",
    "status": "string",
    "finish": "string",
    "tokens_in": "int32",
    "tokens_out": "int32",
    "model": "string",
    "revision": "string",
}


@dataclass(frozen=True, kw_only=True)
class WriterConfig(StageConfig):
    """Who writes, for which problems and personas, and how the model is run.

    `writer` None is the toy world's own generator. The engine's settings are for a model that is run here.
    """

    task: Source = recipe_field()
    personas: str = recipe_field()
    writer: Model | None = recipe_field(None)
    temperature: float = 0.0
    max_tokens: int = 1024
    backend: Backend = "transformers"
    dtype: Dtype = "bfloat16"
    batch_size: int = 64  # hashed, as tensor_parallel: floating point may differ
    tensor_parallel: int = 1
    gpus: int = unhashed(1)
    budget: float = unhashed(0.0, help="limit in USD for a served model (0: no limit). Does not change the result")

    def __post_init__(self) -> None:
        """Refuse numbers out of range."""
        self.refuse_below(1, "max_tokens", "batch_size", "tensor_parallel", "gpus")
        self.refuse_below(0, "temperature", "budget")


def packages(config: WriterConfig) -> tuple[str, ...]:
    """The packages that running the writer needs (a stage's NEEDS)."""
    return packages_of(config.backend) if config.writer and config.writer.repo else ()


def inputs(config: WriterConfig) -> dict[str, str]:
    """The personas, the task's dataset where it has one, and the writer where it is run here."""
    named = {
        "personas": config.personas,
        "task": config.task.repo,
        "model": config.writer.repo if config.writer else "",
    }
    return {name: repo for name, repo in named.items() if repo}


def cost(config: WriterConfig, completions: int, tokens_in: float, tokens_out: float) -> dict[str, float]:
    """What so many completions cost: the tokens are those of one, and USD come in where the recipe states prices."""
    found = {"completions": completions, "tokens": completions * tokens_out}
    usd = config.writer.price(completions * tokens_in, completions * tokens_out) if config.writer else 0.0
    return found | ({"USD": usd} if usd else {})


def row(
    config: WriterConfig, problem: Problem, drawn: Persona | None, asked: Messages, made: Completion, verdict: Verdict
) -> Row:
    """One row. `revision` is the one that the recipe pins, or the name that the server gave of its model.

    A commit looked up now would carry a time into the data: that one is in run.json.
    """
    writer = config.writer
    served = made.engine.removeprefix("endpoint ") if writer and writer.url else ""
    return {
        "problem_id": problem.id,
        "question": problem.question,
        "gold": problem.gold,
        "kind": problem.kind,
        "persona": drawn.key if drawn else None,
        "messages": asked,
        "completion": made.text,
        "extracted": verdict.extracted,
        "status": verdict.status,
        "finish": made.finish,
        "tokens_in": made.tokens_in,
        "tokens_out": made.tokens_out,
        "model": writer.model if writer else "permix.toy.style",
        "revision": served or (writer.revision if writer else ""),
    }


def refuse_failed(completions: Iterable[Completion], verdicts: Iterable[Verdict]) -> None:
    """Raise PermixError where an engine or the verifier failed: that is no property of the text."""
    failed = Counter(
        "engine_error" if made.finish == "error" else verdict.status
        for made, verdict in zip(completions, verdicts, strict=True)
        if made.finish == "error" or verdict.score is None
    )
    if failed:
        what = ", ".join(f"{count} x {status}" for status, count in sorted(failed.items()))
        raise PermixError(f"Some completions failed ({what}): run it again, only these are made anew.")


def write(table: Sequence[Row], path: Path) -> None:
    """Write the rows of one configuration."""
    parquet.write(table, COLUMNS, path)
