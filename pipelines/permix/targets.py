"""What stages teachers and rewrites have in common: a model writes the text that SFT learns from, one row each."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from permix.benchmarks import Source
from permix.errors import BadInput, PermixError
from permix.models import Model
from permix.persona import Persona
from permix.prompt import Messages
from permix.sampler import Backend, Completion, Dtype, Engine, Sampler, packages_of
from permix.stage import Parts, StageConfig, given, unhashed
from permix.verifier import Problem, Verdict

Row = dict[str, Any]
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
PROBLEMS = 7473
"""How many an estimate counts on where the task has no limit: GSM8K's training set."""


@dataclass(frozen=True, kw_only=True)
class WriterConfig(StageConfig):
    """Who writes, for which problems and personas, and how the model is run.

    `writer` None is the toy world's own generator. The engine's settings are for a model that is run here.

    budget: USD that a model behind a server may cost (0: no limit)
    """

    task: Source = given()
    personas: str = given()
    writer: Model | None = given(default=None)
    temperature: float = 0.0
    max_tokens: int = 1024
    backend: Backend = "transformers"
    dtype: Dtype = "bfloat16"
    batch_size: int = 64  # hashed, as tensor_parallel: floating point may differ
    tensor_parallel: int = 1
    gpus: int = unhashed(1)
    budget: float = unhashed(0.0)

    def __post_init__(self) -> None:
        """Refuse numbers out of range."""
        table = type(self).__module__.rpartition(".")[2]
        for name in ("max_tokens", "batch_size", "tensor_parallel", "gpus"):
            if getattr(self, name) < 1:
                raise BadInput(f"[{table}] {name} is {getattr(self, name)}: it should be at least 1.")
        for name in ("temperature", "budget"):
            if getattr(self, name) < 0:
                raise BadInput(f"[{table}] {name} is {getattr(self, name)}: it should be 0 or more.")


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


def open_sampler(config: WriterConfig, inputs: Mapping[str, Path], parts: Parts) -> Sampler:
    """The writer, running: an engine on the fetched model, or its server."""
    assert config.writer is not None
    if config.writer.url:
        return parts.sampler(config.writer.endpoint(config.budget))
    return parts.sampler(
        Engine(
            base=inputs["model"],
            backend=config.backend,
            batch_size=config.batch_size,
            dtype=config.dtype,
            threads=parts.threads,
            gpus=config.gpus,
            tensor_parallel=config.tensor_parallel,
        )
    )


def seed_of(*what: object) -> int:
    """The seed of one completion, from all that tells it from others."""
    return int.from_bytes(hashlib.sha256("\0".join(map(str, what)).encode()).digest()[:7], "big")


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


def write(rows: Sequence[Row], path: Path) -> None:
    """Write the rows as Parquet."""
    import pyarrow as arrow
    import pyarrow.parquet as parquet

    message = arrow.struct([("role", arrow.string()), ("content", arrow.string())])
    types = {"messages": arrow.list_(message)}
    schema = arrow.schema([(name, types.get(kind) or arrow.type_for_alias(kind)) for name, kind in COLUMNS.items()])
    path.parent.mkdir(parents=True)
    parquet.write_table(arrow.Table.from_pylist(list(rows), schema), path, compression="zstd")


def spent(config: WriterConfig, completions: Iterable[Completion]) -> dict[str, float]:
    """What the completions cost, for the run record."""
    every = list(completions)
    read, written = sum(c.tokens_in for c in every), sum(c.tokens_out for c in every)
    usd = config.writer.price(read, written) if config.writer else 0.0
    found: dict[str, float] = {"completions": len(every), "tokens_in": read, "tokens_out": written}
    return found | ({"USD": round(usd, 6)} if usd else {})
