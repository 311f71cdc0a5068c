"""The rows of a sweep: one for each benchmark, persona, problem and run, from the request to the score."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from permix import parquet
from permix.benchmarks import Source
from permix.errors import PermixError
from permix.parquet import Row
from permix.prompting.persona import Persona
from permix.prompting.prompts import Messages
from permix.sampling.sampler import Adapter, Completion, Request, Sampler, Sampling, seed_of
from permix.stage import StageContext
from permix.stages.shared.peers import PEERS, Question
from permix.verifier import Problem, Verdict, Verifier

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
OF_PEERS = {"peer": "string", "rounds": "string"}
"""Columns of a peer's sweep (stages.shared.peers); `rounds` is JSON: {step: [completion, finish, tokens_out]}."""


@dataclass
class Condition:
    """One row to be: what is asked, its completions by step of the sweep's peer, and the row's own columns."""

    id: str
    asked: Question
    row: Row
    chats: list[Messages] = field(default_factory=list)
    made: dict[str, Completion] = field(default_factory=dict)

    @property
    def texts(self) -> dict[str, str]:
        """The completions so far."""
        return {step: done.text for step, done in self.made.items()}


def conditions(
    sources: Sequence[Source],
    personas: Sequence[Persona],
    problems: Mapping[str, Sequence[Problem]],
    runs: int,
    noise: tuple[int, str],
) -> dict[str, list[Condition]]:
    """{benchmark: every persona x problem x run}, still without completions; `noise` is the seed and the variant."""
    return {
        source.name: [
            Condition(
                f"{source.name}|{problem.id}|{who.key}|{run}",
                Question(problem.question, problem.kind, source.instruction, who),
                {
                    "problem_id": problem.id,
                    "erratum": problem.erratum,
                    "persona": who.key,
                    "category": who.category,
                    "run": run,
                    "seed": condition_seed(noise, source.name, problem.id, who.key, run),
                },
            )
            for who in personas
            for problem in problems[source.name]
            for run in range(runs)
        ]
        for source in sources
    }


def sample(
    tables: Mapping[str, Sequence[Condition]],
    peer: str,
    sampling: Sampling,
    adapter: Adapter | None,
    sampler: Sampler,
    context: StageContext,
) -> None:
    """Give every condition its completions, one round of the peer after the other, each with a journal of its own.

    PermixError after a round in which the engine failed: the next one would rest on nothing.
    """
    for number, steps in enumerate(PEERS[peer].rounds, 1):
        requests, waiting = [], {}
        for one in (one for table in tables.values() for one in table):
            chats = {step.name: chat for step in steps if (chat := step.chat(one.asked, one.texts))}
            for step, chat in chats.items():
                one.chats.append(chat)
                name = f"{one.id}|{step}" if step else one.id
                waiting[name] = one, step
                requests.append(Request(name, chat, sampling, _of_step(one.row["seed"], step), adapter))
        journal = context.work / ("completions.jsonl" if number == 1 else f"completions-{number}.jsonl")
        for done in sampler.sample(requests, journal=journal, progress=context.progress) if requests else ():
            one, step = waiting[done.id]
            one.made[step] = done
        for benchmark, table in tables.items():
            refuse_missing(
                benchmark, ["engine_error" for one in table for c in one.made.values() if c.finish == "error"]
            )


def condition_seed(noise: tuple[int, str], benchmark: str, problem: str, who: str, run: int) -> int:
    """The seed of one condition; equal seeds for two personas would give them equal noise."""
    return seed_of(*noise, benchmark, who, problem, run)


def _of_step(seed: int, step: str) -> int:
    """The seed of one of several completions of a condition; that of an ordinary sweep is the condition's own."""
    return seed_of(seed, step) if step else seed


def sampled(one: Condition, peer: str, dtype: str) -> Row:
    """The row with what it has of its completions; `dtype` is the base's, "" where a server does not tell."""
    asked = one.chats[0] if not peer else one.chats
    steps = [step.name for steps in PEERS[peer].rounds for step in steps]  # completions come in any order
    made = {step: one.made[step] for step in steps if step in one.made}
    rounds = {step: [done.text, done.finish, done.tokens_out] for step, done in made.items()}
    return {
        **one.row,
        "prompt_digest": hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:16],
        "adapter_digest": next(iter(made.values())).adapter_digest,
        "base_dtype": dtype,
        **answered(peer, rounds),
        **({"peer": peer, "rounds": json.dumps(rounds, ensure_ascii=False)} if peer else {}),
    }


def answered(peer: str, rounds: Mapping[str, Sequence[Any]]) -> Row:
    """The completion that is graded and why it ended, by {step: [text, finish, tokens]}, and the tokens of all."""
    chosen = PEERS[peer].answer({step: text for step, (text, *_) in rounds.items()})
    text, finish, _ = rounds[chosen]
    return {"completion": text, "finish": finish, "tokens_out": sum(tokens for *_, tokens in rounds.values())}


def graded(verdict: Verdict) -> Row:
    """What a row has of its verdict."""
    return {"extracted": verdict.extracted, "status": verdict.status, "score": verdict.score}


def grade(table: Sequence[Row], problems: Sequence[Problem], verifier: Verifier) -> list[Row]:
    """The rows of one benchmark, each with its verdict; PermixError where `problems` lack one that is answered."""
    golds = {p.id: p for p in problems}
    if unknown := [row["problem_id"] for row in table if row["problem_id"] not in golds]:
        raise PermixError(f"The sweep answers {unknown[0]}, which its benchmark no longer holds: make the sweep again.")
    verdicts = verifier.grade_many((row["completion"], golds[row["problem_id"]]) for row in table)
    return [row | graded(verdict) for row, verdict in zip(table, verdicts, strict=True)]


def refuse_missing(benchmark: str, statuses: Iterable[str]) -> None:
    """PermixError where rows have no score, for a reason of ours: their `statuses`."""
    if missing := Counter(statuses):
        what = ", ".join(f"{count} x {status}" for status, count in sorted(missing.items()))
        raise PermixError(
            f"The sweep on {benchmark} has rows without a score ({what}): run it again, only these are made anew."
        )


def regrade(table: Sequence[Row], problems: Sequence[Problem]) -> list[Row]:
    """The rows graded anew from their completions; of a peer, the one that counts is chosen anew, too."""
    table = [row | answered(row["peer"], json.loads(row["rounds"])) if row.get("peer") else row for row in table]
    with Verifier() as verifier:
        return grade(table, problems, verifier)


def write(table: Sequence[Row], folder: Path, benchmark: str) -> None:
    """Write the rows of one benchmark into a sweep artifact."""
    more = OF_PEERS if table and table[0].get("peer") else {}
    parquet.write(table, COLUMNS | more, _file(folder, benchmark))


def read(folder: Path, benchmark: str) -> list[Row]:
    """The rows of one benchmark of a sweep artifact."""
    return parquet.read(_file(folder, benchmark))


def _file(folder: Path, benchmark: str) -> Path:
    return folder / "data" / benchmark / "test-00000-of-00001.parquet"
