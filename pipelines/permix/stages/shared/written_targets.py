"""The targets that stages teachers and rewrites share: a model writes the text that SFT learns from, one row each."""

from collections.abc import Sequence
from dataclasses import dataclass

from permix.benchmarks import Source
from permix.errors import PermixError, counts
from permix.experiment.models import Model
from permix.parquet import Row
from permix.prompting.persona import Persona
from permix.prompting.prompts import Messages
from permix.sampling.sampler import Backend, Completion, Dtype, packages_of
from permix.stage import StageConfig, recipe_field, unhashed
from permix.verifier import Problem, Verdict

COLUMNS = (
    dict.fromkeys(("problem_id", "question", "gold", "kind", "persona"), "string")
    | {"messages": "messages"}
    | dict.fromkeys(("completion", "extracted", "status", "finish"), "string")
    | {"tokens_in": "int32", "tokens_out": "int32", "model": "string", "revision": "string"}
)


@dataclass(frozen=True, kw_only=True)
class WriterConfig(StageConfig):
    """The writer (None: the toy world's generator), its problems and personas, and the engine of a local model."""

    task: Source = recipe_field()
    personas: str = recipe_field()
    writer: Model | None = recipe_field(None)
    temperature: float = 0.0
    max_tokens: int = 1024
    backend: Backend = "transformers"
    dtype: Dtype = "bfloat16"
    batch_size: int = 64  # hashed, like tensor_parallel: another value may round differently
    tensor_parallel: int = 1
    gpus: int = unhashed(1)
    budget: float = unhashed(0.0, help="limit in USD for a served model (0: no limit). Does not change the result")

    def __post_init__(self) -> None:
        self.refuse_below(1, "max_tokens", "batch_size", "tensor_parallel", "gpus")
        self.refuse_below(0, "temperature", "budget")


def packages(config: WriterConfig) -> tuple[str, ...]:
    """Return the packages that the writer's engine needs."""
    return packages_of(config.backend) if config.writer and config.writer.repo else ()


def inputs(config: WriterConfig) -> dict[str, str]:
    """Return the personas, the task's dataset, if it has one, and the writer, if it runs on this machine."""
    writer = config.writer.repo if config.writer else ""
    repositories = {"personas": config.personas, "task": config.task.repo, "model": writer}
    return {name: repo for name, repo in repositories.items() if repo}


def cost(config: WriterConfig, completions: int, tokens_in: float, tokens_out: float) -> dict[str, float]:
    """Return the cost of `completions`, each with these tokens; includes USD if the recipe gives prices."""
    usd = config.writer.price(completions * tokens_in, completions * tokens_out) if config.writer else 0.0
    return {"completions": completions, "tokens": completions * tokens_out} | ({"USD": usd} if usd else {})


def row(
    config: WriterConfig,
    problem: Problem,
    drawn: Persona | None,
    chat: Messages,
    completion: Completion,
    verdict: Verdict,
) -> Row:
    """Return one row; `revision` is the pin or the server's name (a resolved commit would bring in a time)."""
    writer = config.writer
    served = completion.engine.removeprefix("endpoint ") if writer and writer.url else ""
    return {
        "problem_id": problem.id,
        "question": problem.question,
        "gold": problem.gold,
        "kind": problem.kind,
        "persona": drawn.key if drawn else None,
        "messages": chat,
        "completion": completion.text,
        "extracted": verdict.extracted,
        "status": verdict.status,
        "finish": completion.finish,
        "tokens_in": completion.tokens_in,
        "tokens_out": completion.tokens_out,
        "model": writer.model if writer else "permix.toy.style",
        "revision": served or (writer.revision if writer else ""),
    }


def checked(completions: Sequence[Completion], verdicts: Sequence[Verdict]) -> list[Verdict]:
    """Return the verdicts, "refused" for a refused prompt; PermixError where the engine or the verifier failed."""
    pairs = list(zip(completions, verdicts, strict=True))
    failed = counts(
        "engine_error" if completion.finish == "error" else verdict.status
        for completion, verdict in pairs
        if completion.finish == "error" or verdict.score is None
    )
    if failed:
        raise PermixError(f"Some completions failed ({failed}): run it again; only these are sampled.")
    return [Verdict("refused", None) if completion.finish == "refusal" else verdict for completion, verdict in pairs]
