"""Measure one variant: all personas and controls x all problems x all runs, on every benchmark (sections 3.1 and 4.2).

In:  base, personas (pool eval), the variant's adapter (none for base), the datasets of the benchmarks
Out: data/<benchmark>/test-00000-of-00001.parquet: one row per completion (COLUMNS);
     summary.json: every number, a function of the rows
"""

import functools
import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from permix import benchmarks, files, persona, prompt, variant
from permix.benchmarks import Source
from permix.errors import BadInput, PermixError
from permix.persona import Persona
from permix.results import numbers
from permix.sampler import Adapter, Backend, Completion, Engine, Request, Sampling
from permix.stage import Facts, Parts, StageConfig, given, unhashed
from permix.verifier import Problem, Verdict

if TYPE_CHECKING:
    from permix.recipe import Recipe

CARD = "sweep"
VERSION = 1
COLUMNS = {
    "problem_id": "string",
    "persona": "string",
    "category": "string",
    "run": "int32",
    "seed": "int64",
    "prompt_digest": "string",
    "completion": "string",
    "finish": "string",
    "tokens_out": "int32",
    "extracted": "string",
    "status": "string",
    "score": "float32",
    "adapter_digest": "string",
    "base_dtype": "string",
}
Row = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Config(StageConfig):
    """`runs` repetitions of each condition (the paper: 5); `limit` bounds the problems of each benchmark (0: all).

    `backend` "vllm" samples with `gpus` replicas, each over `tensor_parallel` devices.
    """

    variant: str = given()
    base: str = given()
    base_slug: str = given()
    toy: bool = given(default=False)
    personas: str = given()
    benchmarks: tuple[Source, ...] = given()
    runs: int = 5
    limit: int = 0
    temperature: float = 0.6
    top_p: float = 0.9
    max_tokens: int = 2048
    batch_size: int = 256  # hashed: floating point may differ from one batch plan to another
    dtype: str = "float32"
    backend: Backend = "transformers"  # hashed: other kernels, other noise
    gpus: int = unhashed(1)
    tensor_parallel: int = unhashed(1)
    max_lora_rank: int = unhashed(16)
    draws: int = 1000

    def __post_init__(self) -> None:
        for name in ("runs", "max_tokens", "batch_size", "gpus", "tensor_parallel", "max_lora_rank", "draws"):
            if getattr(self, name) < 1:
                raise BadInput(f"[sweep] {name} is {getattr(self, name)}: it should be at least 1.")
        if self.limit < 0:
            raise BadInput(f"[sweep] limit is {self.limit}: it should be 0 (all) or more.")
        if self.temperature < 0 or not 0 < self.top_p <= 1:
            raise BadInput(
                f"[sweep] temperature {self.temperature} and top_p {self.top_p}: they should be >= 0 and in (0, 1]."
            )


def packages(config: Config) -> tuple[str, ...]:
    """What the back end imports."""
    return ("torch", "transformers", "peft", *(["vllm"] if config.backend == "vllm" else []))


NEEDS = packages


def configs(recipe: "Recipe") -> list[Config]:
    """One for each variant and seed; none where the recipe names no benchmark."""
    shared: dict[str, Any] = {
        "org": recipe.org,
        "tag": recipe.tag,
        "base": recipe.base_repo,
        "base_slug": recipe.base_slug,
        "toy": recipe.base == "toy",
    }
    shared |= {"personas": recipe.personas_repo, "benchmarks": recipe.benchmarks, **recipe.settings("sweep")}
    return [Config(variant=name, seed=seed, **shared) for name, seed in recipe.runs()]


def target(config: Config) -> str:
    """`datasets/org/permix-sweep-<base-slug>-<variant>`."""
    return f"datasets/{config.name(f'permix-sweep-{config.base_slug}-{config.variant}')}"


def repository(org: str, tag: str, base_slug: str, variant: str, seed: int) -> str:
    """The repository of the sweep of one variant, for the stages that read it."""
    return f"datasets/{StageConfig(org=org, tag=tag, seed=seed).name(f'permix-sweep-{base_slug}-{variant}')}"


def inputs(config: Config) -> dict[str, str]:
    """The base, the personas, the adapter of a trained variant, and the benchmarks' datasets."""
    adapter = {} if _untrained(config) else {"adapter": config.name(f"{config.base_slug}-{config.variant}")}
    return {"base": config.base, "personas": config.personas, **adapter} | {
        f"benchmark/{s.name}": s.repo for s in config.benchmarks if s.repo
    }


def group(config: Config) -> tuple[Any, ...]:
    """Sweeps of one base share an engine."""
    return config.base, *_engine(config).values()


def _engine(config: Config) -> dict[str, Any]:
    names = ("backend", "batch_size", "dtype", "gpus", "tensor_parallel", "max_lora_rank")
    return {name: getattr(config, name) for name in names}


def estimate(config: Config) -> dict[str, float]:
    """Completions to sample, as far as the recipe bounds the problems, and at most so many tokens."""
    conditions = (16 + len(persona.CONTROLS)) * config.runs
    completions = sum(conditions * (config.limit or s.limit or 500) for s in config.benchmarks)
    return {"completions": completions, "tokens": completions * config.max_tokens}


def check(config: Config, inputs: Mapping[str, Path]) -> None:
    """Read pool and benchmarks that come from the Hub: what is wrong with them is found before anything is trained."""
    if "personas" in inputs:
        _pool(inputs["personas"])
    for source in config.benchmarks:
        if folder := inputs.get(f"benchmark/{source.name}"):
            _check(source, config.limit, folder)


@functools.cache  # every variant asks for the same; the folder's name holds its commit
def _check(source: Source, limit: int, folder: Path) -> None:
    from permix.verifier import Verifier

    with Verifier() as verifier:
        verifier.check_golds(benchmarks.load(source, folder)[: limit or None])


def run(config: Config, inputs: Mapping[str, Path], out: Path, *, parts: Parts) -> Facts:
    """Sample, grade and summarise; a completion that failed for a reason of ours stops the publication."""
    from permix.verifier import Verifier

    personas = [*persona.CONTROLS, *_pool(inputs["personas"])]
    adapter = Adapter(inputs["adapter"], parts.digests["adapter"]) if "adapter" in inputs else None
    problems = problems_of(config, inputs)
    requests, rows = _requests(config, personas, problems, adapter)
    sampler = parts.sampler(Engine(base=inputs["base"], threads=parts.threads, **_engine(config)))
    tokens = Counter[str]()
    for done in sampler.sample(requests, journal=parts.work / "completions.jsonl", progress=parts.progress):
        rows[done.id] |= _sampled(done) | {"base_dtype": sampler.dtype}
        tokens += Counter({"tokens_in": done.tokens_in, "tokens_out": done.tokens_out})
    with Verifier() as verifier:
        by_benchmark = {
            name: [rows[_id(name, p, who, r)] for who in personas for p in found for r in range(config.runs)]
            for name, found in problems.items()
        }
        for name, table in by_benchmark.items():
            golds = {p.id: p for p in problems[name]}
            pairs = [(row["completion"], golds[row["problem_id"]]) for row in table]
            for row, verdict in zip(table, verifier.grade_many(pairs), strict=True):
                row |= _graded(row, verdict)
            _refuse_missing(name, table)
            _write(table, out / "data" / name / "test-00000-of-00001.parquet")
    summary = summarise(config, by_benchmark)
    files.write_json(out / "summary.json", summary)
    return {"summary": summary, "cost": {"completions": len(requests), **tokens}}


def summarise(config: Config, tables: Mapping[str, Sequence[Row]]) -> dict[str, Any]:
    """Every number of the sweep, from its rows alone: what `permix verify` computes again."""
    return {
        "variant": config.variant,
        "title": variant.get(config.variant).title,
        "base": config.base,
        "seed": config.seed,
        "benchmarks": {
            name: numbers.of_rows(table, draws=config.draws, toy=config.toy) for name, table in tables.items()
        },
    }


def read(folder: Path, benchmark: str) -> list[Row]:
    """The rows of one benchmark of a sweep artifact."""
    import pyarrow.parquet as parquet

    return [
        dict(row) for row in parquet.read_table(folder / "data" / benchmark / "test-00000-of-00001.parquet").to_pylist()
    ]


def regrade(config: Config, table: Sequence[Row], problems: Sequence[Problem]) -> list[Row]:
    """The rows graded anew from their completions."""
    from permix.verifier import Verifier

    golds = {p.id: p for p in problems}
    if unknown := [row["problem_id"] for row in table if row["problem_id"] not in golds]:
        raise PermixError(f"The sweep answers {unknown[0]}, which its benchmark no longer holds: make the sweep again.")
    with Verifier() as verifier:
        verdicts = verifier.grade_many([(row["completion"], golds[row["problem_id"]]) for row in table])
    return [row | _graded(row, verdict) for row, verdict in zip(table, verdicts, strict=True)]


def seed_of(config: Config, benchmark: str, problem: str, who: str, run: int) -> int:
    """The seed of one completion; equal seeds for two personas would give them equal noise."""
    text = f"{config.seed}\0{config.variant}\0{benchmark}\0{who}\0{problem}\0{run}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:7], "big")


def _pool(folder: Path) -> list[Persona]:
    found = persona.load(folder, "eval")
    if len(found) < 2:
        raise BadInput(f"The pool eval holds {found[0].key!r} alone: PSS compares at least two personas.")
    return found


def _untrained(config: Config) -> bool:
    return variant.get(config.variant).trainer == "none"


def _problems(config: Config, source: Source, inputs: Mapping[str, Path]) -> list[Problem]:
    found = benchmarks.load(source, inputs.get(f"benchmark/{source.name}"))
    return found[: config.limit] if config.limit else found


def problems_of(config: Config, inputs: Mapping[str, Path]) -> dict[str, list[Problem]]:
    """The problems of every benchmark of the sweep."""
    return {s.name: _problems(config, s, inputs) for s in config.benchmarks}


def _id(benchmark: str, problem: Problem, who: Persona, run: int) -> str:
    return f"{benchmark}|{problem.id}|{who.key}|{run}"


def _requests(
    config: Config, personas: Sequence[Persona], problems: Mapping[str, Sequence[Problem]], adapter: Adapter | None
) -> tuple[list[Request], dict[str, Row]]:
    """One request and one row, still without its completion, for every condition."""
    sampling = Sampling(temperature=config.temperature, top_p=config.top_p, max_tokens=config.max_tokens)
    requests, rows = [], {}
    for source in config.benchmarks:
        for who in personas:
            for problem in problems[source.name]:
                chat = prompt.messages(problem.question, who, source.instruction)
                digest = hashlib.sha256(json.dumps(chat).encode()).hexdigest()[:16]
                for run in range(config.runs):
                    seed, key = (
                        seed_of(config, source.name, problem.id, who.key, run),
                        _id(source.name, problem, who, run),
                    )
                    requests.append(Request(key, chat, sampling, seed, adapter))
                    rows[key] = {
                        "problem_id": problem.id,
                        "persona": who.key,
                        "category": who.category,
                        "run": run,
                        "seed": seed,
                        "prompt_digest": digest,
                    }
    return requests, rows


def _sampled(done: Completion) -> Row:
    return {
        "completion": done.text,
        "finish": done.finish,
        "tokens_out": done.tokens_out,
        "adapter_digest": done.adapter_digest,
    }


def _graded(row: Row, verdict: Verdict) -> Row:
    status = "engine_error" if row["finish"] == "error" else verdict.status
    return {
        "extracted": verdict.extracted,
        "status": status,
        "score": None if status == "engine_error" else verdict.score,
    }


def _refuse_missing(benchmark: str, table: Iterable[Row]) -> None:
    missing = Counter(row["status"] for row in table if row["score"] is None)
    if missing:
        what = ", ".join(f"{count} x {status}" for status, count in sorted(missing.items()))
        raise PermixError(
            f"The sweep on {benchmark} has rows without a score ({what}): run it again, only these are made anew."
        )


def _write(table: Sequence[Row], path: Path) -> None:
    import pyarrow as arrow
    import pyarrow.parquet as parquet

    schema = arrow.schema([(name, arrow.type_for_alias(kind)) for name, kind in COLUMNS.items()])
    path.parent.mkdir(parents=True)
    parquet.write_table(
        arrow.Table.from_pylist([{name: row[name] for name in COLUMNS} for row in table], schema),
        path,
        compression="zstd",
    )
