"""Read a mixture for a trainer and check it against the base's chat template and context, before the base loads."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from permix import parquet, run_record
from permix.errors import BadInput
from permix.prompting.prompts import Messages
from permix.sampling import chat_template
from permix.sampling.sampler import CHAT_TEMPLATE_KWARGS


def read(mixture: Path, columns: Sequence[str]) -> list[parquet.Row]:
    """Return the mixture's rows with these columns."""
    return parquet.read(parquet.data_file(mixture, split="train"), columns)


def check_template(tokenizer: Any, rows: Sequence[parquet.Row], base: str) -> None:
    """Raise BadInput unless the template shows every row's persona to the model."""
    for prompt in {json.dumps(row["prompt"]): row["prompt"] for row in rows}.values():
        chat_template.rendered(tokenizer, prompt, base)


def token_ids(tokenizer: Any, chats: Sequence[Messages], *, add_generation_prompt: bool = False) -> list[list[int]]:
    """Return each chat in tokens, as the template renders it."""
    ids: list[list[int]] = tokenizer.apply_chat_template(
        list(chats), add_generation_prompt=add_generation_prompt, return_dict=True, **CHAT_TEMPLATE_KWARGS
    )["input_ids"]
    return ids


def check_context(name: str, base: Path, longest: int, sequence: str) -> None:
    """Raise BadInput if the base called `name` has fewer positions than the `longest` sequence has tokens."""
    from transformers import AutoConfig

    positions = getattr(AutoConfig.from_pretrained(base).get_text_config(), "max_position_embeddings", None)
    if positions and longest > positions:
        raise BadInput(f"{sequence} takes {longest} tokens and {name} has {positions} positions: shorten it.")


def provenance(mixture: Path) -> dict[str, Any]:
    """Return the mixture's sources, {name: repo@sha}, and its facts from its run record; {} without a record."""
    record = run_record.read_record(mixture / run_record.RECORD) if (mixture / run_record.RECORD).is_file() else None
    if record is None:
        return {}
    sources = {name: f"{source['repo']}@{source['revision']}" for name, source in record["inputs"].items()}
    return {"sources": sources, **{k: v for k, v in record["facts"].items() if k != "personas"}}
