"""What the back ends that run a base model on this machine share: prompts, the base's digest, journaled batches."""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import transformers
from jinja2 import TemplateError

from permix.errors import BadInput
from permix.sampling import sampler
from permix.sampling.sampler import Completion, Request

if TYPE_CHECKING:
    from permix.progress import Progress

Prompts = dict[str, list[int]]
DTYPES = ("float32", "bfloat16", "float16")


class Prompter:
    """Turns messages into token ids with the base's own chat template, the same ids for every back end."""

    def __init__(self, base: Path) -> None:
        """Load the tokenizer; BadInput where it does not load or has no chat template."""
        self._base = base
        try:
            self.tokenizer = transformers.AutoTokenizer.from_pretrained(base)
        except (OSError, ValueError) as error:
            raise BadInput(f"{base} does not load as a tokenizer: {str(error).splitlines()[0]}") from None
        if not self.tokenizer.chat_template:
            raise BadInput(f"The tokenizer in {base} has no chat template: add chat_template.jinja.")
        self._known: dict[str, list[int]] = {}

    def encode(self, requests: Sequence[Request], room: int | None) -> Prompts:
        """Token ids of every request's prompt; each distinct list of messages is rendered once in an engine's life.

        BadInput for a prompt that is empty or that, with its max_tokens, exceeds `room` positions (None: no limit).
        """
        keys = {r.id: json.dumps(r.messages) for r in requests}
        new = {keys[r.id]: r.messages for r in requests if keys[r.id] not in self._known}
        if new:
            texts = [self._render(messages) for messages in new.values()]
            encoded = self.tokenizer(texts, add_special_tokens=False)["input_ids"]
            self._known.update(zip(new, encoded, strict=True))
        prompts = {i: self._known[key] for i, key in keys.items()}
        for r in requests:
            have = len(prompts[r.id])
            if not have:
                raise BadInput(f"The prompt of request {r.id!r} is empty after the chat template: give it a message.")
            if room and have + r.sampling.max_tokens > room:
                raise BadInput(
                    f"Request {r.id!r} needs {have} prompt tokens + max_tokens {r.sampling.max_tokens} = "
                    f"{have + r.sampling.max_tokens}, but the model has {room} positions: "
                    "shorten the prompt or lower max_tokens (of [sweep], in a recipe)."
                )
        return prompts

    def _render(self, messages: Any) -> str:
        try:
            text: str = self.tokenizer.apply_chat_template(
                messages, tokenize=False, add_generation_prompt=True, **sampler.CHAT_TEMPLATE_KWARGS
            )
        except TemplateError as error:  # Gemma 2, for one, knows no system message
            raise BadInput(f"The chat template of {self._base} refuses a request's messages: {error}.") from None
        return text


def journaled(
    batches: Sequence[list[Request]],
    sample: Callable[[list[list[Request]]], Iterator[list[Completion]]],
    journal: Path | None,
    header: dict[str, Any],
    progress: "Progress | None",
) -> Iterator[Completion]:
    """Completions of the batches that the journal holds, then those that `sample` makes of the others.

    `sample` gives finished batches, in any order; each is journaled before it is handed out.
    """
    with sampler.Journal(journal, header) if journal else nullcontext() as book:
        old = [c for completions in book.done for c in completions] if book else []
        known, done, total = {c.id for c in old}, len(old), sum(map(len, batches))
        if progress:
            progress(done, total, "completions", book.note if book else "")
        yield from old
        for completions in sample([batch for batch in batches if batch[0].id not in known]):
            if book:
                book.append(completions)
            done += len(completions)
            if progress:
                progress(done, total, "completions")
            yield from completions


def end_tokens(tokenizer: Any, config: Any, generation_config: Any) -> list[int]:
    """Every token id that ends a completion, of whichever file says so."""
    ends: set[int] = set()
    for found in (tokenizer.eos_token_id, generation_config.eos_token_id, config.eos_token_id):
        ends |= set(found) if isinstance(found, list) else {found} - {None}
    return sorted(ends)


def weights_digest(folder: Path) -> str:
    """What decides the completions of the model in `folder`, as a sha256: weights, configuration, tokenizer."""
    whole = hashlib.sha256()
    for path in sorted(p for p in folder.iterdir() if p.suffix in {".json", ".safetensors", ".jinja", ".model"}):
        with path.open("rb") as file:
            whole.update(f"{path.name}\0{hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return whole.hexdigest()
