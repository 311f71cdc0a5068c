"""The rows of a sweep: one for each benchmark, persona, problem and run, from the request to the score."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from permix import prompt, rows
from permix.errors import PermixError
from permix.persona import Persona
from permix.sampler import Adapter, Completion, Request, Sampling
from permix.verifier import Problem, Verdict

if TYPE_CHECKING:
    from permix.stages.sweep import Config

COLUMNS = {
    "problem_id": "string",
    "erratum": "string",
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


def asked(
    config: "Config", personas: Sequence[Persona], problems: Mapping[str, Sequence[Problem]], adapter: Adapter | None
) -> tuple[list[Request], dict[str, dict[str, Row]]]:
    """One request for every condition, and {benchmark: {request id: row}}, still without completions."""
    sampling = Sampling(temperature=config.temperature, top_p=config.top_p, max_tokens=config.max_tokens)
    requests: list[Request] = []
    tables: dict[str, dict[str, Row]] = {source.name: {} for source in config.benchmarks}
    for source in config.benchmarks:
        for who in personas:
            for problem in problems[source.name]:
                chat = prompt.messages(problem.question, who, source.instruction)
                digest = hashlib.sha256(json.dumps(chat).encode()).hexdigest()[:16]
                for run in range(config.runs):
                    seed = seed_of(config, source.name, problem.id, who.key, run)
                    key = f"{source.name}|{problem.id}|{who.key}|{run}"
                    requests.append(Request(key, chat, sampling, seed, adapter))
                    tables[source.name][key] = {
                        "problem_id": problem.id,
                        "erratum": problem.erratum,
                        "persona": who.key,
                        "category": who.category,
                        "run": run,
                        "seed": seed,
                        "prompt_digest": digest,
                    }
    return requests, tables


def seed_of(config: "Config", benchmark: str, problem: str, who: str, run: int) -> int:
    """The seed of one completion; equal seeds for two personas would give them equal noise."""
    text = f"{config.seed}\0{config.variant}\0{benchmark}\0{who}\0{problem}\0{run}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:7], "big")


def sampled(done: Completion, dtype: str) -> Row:
    """What a row has of its completion; `dtype` is the base's, "" where a server does not tell."""
    return {
        "completion": done.text,
        "finish": done.finish,
        "tokens_out": done.tokens_out,
        "adapter_digest": done.adapter_digest,
        "base_dtype": dtype,
    }


def graded(row: Row, verdict: Verdict) -> Row:
    """What a row has of its verdict; an engine that failed is no verdict."""
    status = "engine_error" if row["finish"] == "error" else verdict.status
    return {
        "extracted": verdict.extracted,
        "status": status,
        "score": None if status == "engine_error" else verdict.score,
    }


def refuse_missing(benchmark: str, table: Iterable[Row]) -> None:
    """PermixError where a row has no score, for a reason of ours."""
    missing = Counter(row["status"] for row in table if row["score"] is None)
    if missing:
        what = ", ".join(f"{count} x {status}" for status, count in sorted(missing.items()))
        raise PermixError(
            f"The sweep on {benchmark} has rows without a score ({what}): run it again, only these are made anew."
        )


def regrade(table: Sequence[Row], problems: Sequence[Problem]) -> list[Row]:
    """The rows graded anew from their completions."""
    from permix.verifier import Verifier

    golds = {p.id: p for p in problems}
    if unknown := [row["problem_id"] for row in table if row["problem_id"] not in golds]:
        raise PermixError(f"The sweep answers {unknown[0]}, which its benchmark no longer holds: make the sweep again.")
    with Verifier() as verifier:
        verdicts = verifier.grade_many([(row["completion"], golds[row["problem_id"]]) for row in table])
    return [row | graded(row, verdict) for row, verdict in zip(table, verdicts, strict=True)]


def write(table: Sequence[Row], folder: Path, benchmark: str) -> None:
    """Write the rows of one benchmark into a sweep artifact."""
    rows.write(table, COLUMNS, _file(folder, benchmark))


def read(folder: Path, benchmark: str) -> list[Row]:
    """The rows of one benchmark of a sweep artifact."""
    return rows.read(_file(folder, benchmark))


def _file(folder: Path, benchmark: str) -> Path:
    return folder / "data" / benchmark / "test-00000-of-00001.parquet"
