"""The answers of one variant to PersonaGym's questions, before they are scored."""

from collections.abc import Iterable, Mapping
from typing import Any

from permix.errors import PermixError
from permix.judging.procedure import Procedure
from permix.prompting import prompts
from permix.prompting.persona import Persona
from permix.sampling.sampler import Adapter, Completion, Request, Sampling, seed_of

COLUMNS = (
    dict.fromkeys(("question_id", "persona", "category", "task", "question", "question_writer"), "string")
    | {"answer": "string", "finish": "string", "tokens_out": "int32", "seed": "int64"}
    | dict.fromkeys(("adapter_digest", "base_dtype"), "string")
)
Row = dict[str, Any]


def requests(
    questions: Mapping[str, Row],
    procedure: Procedure,
    sampling: Sampling,
    noise: tuple[int, str],
    adapter: Adapter | None,
) -> tuple[list[Request], dict[str, Row]]:
    """Return the requests and, by question, the rows to fill; `noise` is the seed and the variant."""
    sampled, table = [], {}
    for key, row in questions.items():
        chat = prompts.messages(row["question"], Persona(row["persona"], "", procedure.system_prompt(row)), "plain")
        seed = seed_of("personagym", *noise, key)
        sampled.append(Request(key, chat, sampling, seed, adapter))
        columns = {name: row[name] for name in ("question_id", "persona", "category", "task", "question")}
        table[key] = columns | {"question_writer": row["writer"], "seed": seed}
    return sampled, table


def fill(table: Mapping[str, Row], completions: Iterable[Completion], dtype: str) -> None:
    """Fill the rows (COLUMNS) with the answers; `dtype` is the base's. Raise PermixError if an answer failed."""
    for done in completions:
        answer = {"answer": done.text, "finish": done.finish, "tokens_out": done.tokens_out}
        table[done.id].update(answer | {"adapter_digest": done.adapter_digest, "base_dtype": dtype})
    if failed := sum(row["finish"] == "error" for row in table.values()):
        raise PermixError(f"{failed} answers failed (engine_error): run it again, only these are sampled again.")
