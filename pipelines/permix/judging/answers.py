"""The answers of one variant to PersonaGym's questions, still without a score."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from permix import models, prompt
from permix.errors import PermixError
from permix.judging.procedure import Procedure
from permix.persona import Persona
from permix.sampler import Adapter, Completion, Request, Sampling, seed_of
from permix.stage import Parts

if TYPE_CHECKING:
    from permix.stages.personagym import Config

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


def sample(
    config: "Config", inputs: Mapping[str, Path], asked: Mapping[str, Row], way: Procedure, parts: Parts
) -> tuple[dict[str, Row], Sequence[Completion]]:
    """One row (COLUMNS) for each question, by id, and what was sampled; PermixError where an answer failed."""
    adapter = Adapter(inputs["adapter"], parts.digests["adapter"]) if "adapter" in inputs else None
    sampling = Sampling(temperature=config.temperature, top_p=config.top_p, max_tokens=config.max_tokens)
    requests, found = [], {}
    for key, row in asked.items():
        chat = prompt.messages(row["question"], Persona(row["persona"], "", way.system_prompt(row)), "plain")
        seed = seed_of("personagym", config.seed, config.variant, key)
        requests.append(Request(key, chat, sampling, seed, adapter))
        kept = {name: row[name] for name in ("question_id", "persona", "category", "task", "question")}
        found[key] = kept | {"question_writer": row["writer"], "seed": seed}
    sampler = models.open_sampler(config.model, inputs.get("base"), config, parts)
    made = list(sampler.sample(requests, journal=parts.work / "answers.jsonl", progress=parts.progress))
    for done in made:
        sampled = {"answer": done.text, "finish": done.finish, "tokens_out": done.tokens_out}
        found[done.id] |= sampled | {"adapter_digest": done.adapter_digest, "base_dtype": sampler.dtype}
    if failed := sum(row["finish"] == "error" for row in found.values()):
        raise PermixError(f"{failed} answers failed (engine_error): run it again, only these are made anew.")
    return found, made
