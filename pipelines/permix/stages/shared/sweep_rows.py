"""The rows of a sweep, one for each benchmark, persona, problem and run, from the request to the score."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from permix import parquet
from permix.benchmarks import Source
from permix.errors import PermixError, counts
from permix.parquet import Row
from permix.prompting.persona import Persona
from permix.prompting.prompts import Messages
from permix.sampling.sampler import Adapter, Completion, Request, Sampler, Sampling, seed_of
from permix.stage import StageContext
from permix.stages.shared.peers import PEERS, Question
from permix.verifier import Problem, Verdict, Verifier

COLUMNS = (
    dict.fromkeys(("problem_id", "erratum", "persona", "category"), "string")
    | {"run": "int32", "seed": "int64"}
    | dict.fromkeys(("prompt_digest", "question", "gold", "system_prompt", "completion", "finish"), "string")
    | {"tokens_out": "int32", "extracted": "string", "status": "string", "score": "float32"}
    | dict.fromkeys(("adapter_digest", "base_dtype"), "string")
)
OF_PEERS = {"peer": "string", "rounds": "string"}
"""Further columns of a peer's sweep (shared.peers); `rounds` is JSON: {step: [completion, finish, tokens_out]}."""


@dataclass
class Condition:
    """A row before it is sampled: its question, its first columns, and its completions by step of the sweep's peer."""

    id: str
    question: Question
    row: Row
    chats: list[Messages] = field(default_factory=list)
    completions: dict[str, Completion] = field(default_factory=dict)

    @property
    def texts(self) -> dict[str, str]:
        """The texts of the completions so far."""
        return {step: completion.text for step, completion in self.completions.items()}


def conditions(
    sources: Sequence[Source],
    personas: Sequence[Persona],
    problems: Mapping[str, Sequence[Problem]],
    runs: int,
    noise: tuple[int, str],
) -> dict[str, list[Condition]]:
    """Return {benchmark: all personas x problems x runs}, without completions; `noise` is the seed and the variant."""
    return {
        source.name: [
            Condition(
                f"{source.name}|{problem.id}|{persona.key}|{run}",
                Question(problem.question, problem.kind, source.instruction, persona),
                {
                    "problem_id": problem.id,
                    "erratum": problem.erratum,
                    "persona": persona.key,
                    "category": persona.category,
                    "run": run,
                    "seed": condition_seed(noise, source.name, problem.id, persona.key, run),
                    **source.texts(problem),
                    "system_prompt": persona.system_prompt,
                },
            )
            for persona in personas
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
    """Sample the completions of every condition, in the peer's rounds, each with its own journal.

    BadInput, before anything is sampled, for a base that does not show the persona in a chat of any round. PermixError
    after a round in which the engine failed, because the next round needs its completions.
    """
    blank = dict.fromkeys((step.name for steps in PEERS[peer].rounds for step in steps), "")
    questions = [condition.question for table in tables.values() for condition in table]
    later_steps = [step for steps in PEERS[peer].rounds[1:] for step in steps]
    later_chats = (step.chat(question, blank) for step in later_steps for question in questions)
    if later := [chat for chat in later_chats if chat]:
        sampler.check(later)
    for number, steps in enumerate(PEERS[peer].rounds, 1):
        requests, waiting = [], {}
        for condition in (condition for table in tables.values() for condition in table):
            chats = {step.name: chat for step in steps if (chat := step.chat(condition.question, condition.texts))}
            for step, chat in chats.items():
                condition.chats.append(chat)
                name = f"{condition.id}|{step}" if step else condition.id
                waiting[name] = condition, step
                seed = seed_of(condition.row["seed"], step) if step else condition.row["seed"]
                requests.append(Request(name, chat, sampling, seed, adapter))
        journal = context.work / ("completions.jsonl" if number == 1 else f"completions-{number}.jsonl")
        for completion in sampler.sample(requests, journal=journal, progress=context.progress) if requests else ():
            condition, step = waiting[completion.id]
            condition.completions[step] = completion
        for benchmark, table in tables.items():
            finishes = [completion.finish for condition in table for completion in condition.completions.values()]
            refuse_missing(benchmark, ["engine_error"] * finishes.count("error"))
        _refuse_refusals(
            [c for table in tables.values() for condition in table for c in condition.completions.values()]
        )


def _refuse_refusals(completions: Sequence[Completion]) -> None:
    """Raise PermixError if the server refused every prompt: that is not a filter on some of them."""
    if completions and all(completion.finish == "refusal" for completion in completions):
        raise PermixError(
            f"The server refused all {len(completions)} prompts of the sweep ({completions[-1].reason}): "
            "check the model, the account and its content filter, then run it again."
        )


def condition_seed(noise: tuple[int, str], benchmark: str, problem: str, persona: str, run: int) -> int:
    """Return the seed of one condition; equal seeds for two personas would give them equal noise."""
    return seed_of(*noise, benchmark, persona, problem, run)


def sampled(condition: Condition, peer: str, dtype: str) -> Row:
    """Return the row with the columns of its completions; `dtype` is the base's, "" if a server does not tell."""
    chats = condition.chats if peer else condition.chats[0]
    steps = [step.name for steps in PEERS[peer].rounds for step in steps]  # completions come in any order
    completions = {step: condition.completions[step] for step in steps if step in condition.completions}
    rounds = {step: [c.text, c.finish, c.tokens_out] for step, c in completions.items()}
    return {
        **condition.row,
        "prompt_digest": hashlib.sha256(json.dumps(chats).encode()).hexdigest()[:16],
        "adapter_digest": next(iter(completions.values())).adapter_digest,
        "base_dtype": dtype,
        **answered(peer, rounds),
        **({"peer": peer, "rounds": json.dumps(rounds, ensure_ascii=False)} if peer else {}),
    }


def answered(peer: str, rounds: Mapping[str, Sequence[Any]]) -> Row:
    """Return the graded completion, its finish, and the tokens of all, from {step: [text, finish, tokens]}."""
    chosen = PEERS[peer].answer({step: text for step, (text, *_) in rounds.items()})
    text, finish, _ = rounds[chosen]
    return {"completion": text, "finish": finish, "tokens_out": sum(tokens for *_, tokens in rounds.values())}


def graded(verdict: Verdict) -> Row:
    """Return the columns of a verdict."""
    return {"extracted": verdict.extracted, "status": verdict.status, "score": verdict.score}


def grade(table: Sequence[Row], problems: Sequence[Problem], verifier: Verifier) -> list[Row]:
    """Return the rows of one benchmark with their verdicts; PermixError for an answer to none of the `problems`."""
    golds = {p.id: p for p in problems}
    if unknown := [row["problem_id"] for row in table if row["problem_id"] not in golds]:
        raise PermixError(f"The sweep answers {unknown[0]}, which its benchmark no longer holds: make the sweep again.")
    verdicts = verifier.grade_many((row["completion"], golds[row["problem_id"]]) for row in table)
    refused = Verdict("refused", None)
    return [
        row | graded(refused if row["finish"] == "refusal" else verdict)
        for row, verdict in zip(table, verdicts, strict=True)
    ]


def refuse_missing(benchmark: str, statuses: Iterable[str]) -> None:
    """Raise PermixError for rows without a score, which have these statuses."""
    if missing := counts(statuses):
        raise PermixError(f"The sweep on {benchmark} lacks scores ({missing}): run it again; only these are sampled.")


def regrade(table: Sequence[Row], problems: Sequence[Problem]) -> list[Row]:
    """Return the rows graded again from their completions; a peer's graded completion is chosen again too."""
    table = [row | answered(row["peer"], json.loads(row["rounds"])) if row.get("peer") else row for row in table]
    with Verifier() as verifier:
        return grade(table, problems, verifier)


def write(table: Sequence[Row], folder: Path, benchmark: str) -> None:
    """Write the rows of one benchmark into a sweep artifact."""
    columns = COLUMNS | (OF_PEERS if table and table[0].get("peer") else {})
    parquet.write(table, columns, parquet.data_file(folder, benchmark))


def read(folder: Path, benchmark: str) -> list[Row]:
    """Return the rows of one benchmark of a sweep artifact."""
    return parquet.read(parquet.data_file(folder, benchmark))
