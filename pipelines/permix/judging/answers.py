"""The answers of one variant to PersonaGym's questions, still without a score."""

from collections.abc import Iterable, Mapping
from typing import Any

from permix.errors import PermixError
from permix.judging.procedure import Procedure
from permix.prompting import prompts
from permix.prompting.persona import Persona
from permix.sampling.sampler import Adapter, Completion, Request, Sampling, seed_of

COLUMNS = {
    "question_id": "string",
    "persona": "string",
    "category": "string",
    "task": "string",
    "question": "string",
    "question_writer": "string",
    "answer": "string",
    "finish": "string",
    "tokens_out": "int32",
    "seed": "int64",
    "adapter_digest": "string",
    "base_dtype": "string",
}
Row = dict[str, Any]


def requests(
    asked: Mapping[str, Row], way: Procedure, sampling: Sampling, noise: tuple[int, str], adapter: Adapter | None
) -> tuple[list[Request], dict[str, Row]]:
    """What to sample and the rows to be, by question; `noise` is the seed and the variant."""
    found, table = [], {}
    for key, row in asked.items():
        chat = prompts.messages(row["question"], Persona(row["persona"], "", way.system_prompt(row)), "plain")
        seed = seed_of("personagym", *noise, key)
        found.append(Request(key, chat, sampling, seed, adapter))
        kept = {name: row[name] for name in ("question_id", "persona", "category", "task", "question")}
        table[key] = kept | {"question_writer": row["writer"], "seed": seed}
    return found, table


def fill(table: Mapping[str, Row], made: Iterable[Completion], dtype: str) -> None:
    """Put the answers into their rows (COLUMNS); `dtype` is the base's. PermixError where one failed."""
    for done in made:
        sampled = {"answer": done.text, "finish": done.finish, "tokens_out": done.tokens_out}
        table[done.id].update(sampled | {"adapter_digest": done.adapter_digest, "base_dtype": dtype})
    if failed := sum(row["finish"] == "error" for row in table.values()):
        raise PermixError(f"{failed} answers failed (engine_error): run it again, only these are made anew.")
