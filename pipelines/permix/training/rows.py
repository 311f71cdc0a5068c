"""The mixture as trainers get it, checked against the base's chat template and context before the base loads."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from permix import run_record
from permix.errors import BadInput
from permix.prompting.prompts import Messages
from permix.sampling.sampler import CHAT_TEMPLATE_KWARGS

Row = dict[str, Any]


def read(mixture: Path, columns: Sequence[str]) -> list[Row]:
    """The mixture's rows with these columns."""
    import pyarrow.parquet as parquet

    table = parquet.read_table(mixture / "data" / "train-00000-of-00001.parquet", columns=list(columns))
    return [dict(row) for row in table.to_pylist()]


def check_template(tokenizer: Any, rows: Sequence[Row], base: str) -> None:
    """Raise BadInput unless the template shows every persona's text to the model."""
    from jinja2 import TemplateError

    by_system: dict[str, Messages] = {}
    for row in rows:
        system = row["prompt"][0]["content"] if row["prompt"][0]["role"] == "system" else ""
        by_system.setdefault(system, row["prompt"])
    for system, messages in by_system.items():
        try:
            text = tokenizer.apply_chat_template(
                messages, tokenize=False, add_generation_prompt=True, **CHAT_TEMPLATE_KWARGS
            )
        except TemplateError as error:
            what = "system messages, which carry the personas" if system else "a lone user message"
            raise BadInput(f"The chat template of {base} rejects {what} ({error}): choose another base.") from None
        if system.strip() not in text:
            raise BadInput(
                f"The chat template of {base} leaves out system messages, which carry the personas: "
                "choose another base, or give its tokenizer a template that shows them."
            )


def prompt_lengths(tokenizer: Any, rows: Sequence[Row]) -> list[int]:
    """Tokens of each row's prompt, up to where the answer begins."""
    return [len(ids) for ids in token_ids(tokenizer, [row["prompt"] for row in rows], add_generation_prompt=True)]


def token_ids(tokenizer: Any, chats: Sequence[Messages], *, add_generation_prompt: bool = False) -> list[list[int]]:
    """Each chat as the template renders it, in tokens."""
    ids: list[list[int]] = tokenizer.apply_chat_template(
        list(chats), add_generation_prompt=add_generation_prompt, return_dict=True, **CHAT_TEMPLATE_KWARGS
    )["input_ids"]
    return ids


def check_context(name: str, base: Path, longest: int, what: str) -> None:
    """Raise BadInput where the base called `name` has fewer positions than the `longest` sequence needs."""
    from transformers import AutoConfig

    positions = getattr(AutoConfig.from_pretrained(base).get_text_config(), "max_position_embeddings", None)
    if positions and longest > positions:
        raise BadInput(f"{what} takes {longest} tokens and {name} has {positions} positions: shorten it.")


def made_from(mixture: Path) -> dict[str, Any]:
    """What the mixture's run record says of it: its own sources as {name: repo@sha}, its rows, its tokens."""
    record = run_record.read_record(mixture / run_record.RECORD) if (mixture / run_record.RECORD).is_file() else None
    if record is None:
        return {}
    sources = {name: f"{source['repo']}@{source['revision']}" for name, source in record["inputs"].items()}
    return {"sources": sources, **{k: v for k, v in record["facts"].items() if k != "personas"}}
