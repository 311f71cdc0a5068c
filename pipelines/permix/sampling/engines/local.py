"""Shared by the back ends that run a base model on this machine: prompts, end tokens, digest, journal."""

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import transformers

from permix.errors import BadInput
from permix.progress import Progress
from permix.prompting.prompts import Messages
from permix.sampling import chat_template
from permix.sampling.journal import Journal, resume
from permix.sampling.sampler import Completion, Engine, Request

Prompts = dict[str, list[int]]
DTYPES = ("float32", "bfloat16", "float16")
_SAFETENSORS = {"F32": "float32", "BF16": "bfloat16", "F16": "float16"}


def name_of(folder: Path) -> str:
    """Return the repository of a folder in the Hub's cache, the path of any other folder."""
    match = re.search(r"models--([^/]+)--([^/]+)/snapshots/[^/]+$", folder.as_posix())
    return f"{match[1]}/{match[2]}" if match else str(folder)


@contextmanager
def refusing(folder: Path, kind: str) -> Iterator[None]:
    """Turn errors of transformers on loading `folder` as `kind` into one sentence."""
    try:
        yield
    except (OSError, ValueError) as error:
        raise BadInput(f"{folder} does not load as {kind}: {str(error).splitlines()[0]}") from None


def dtype_of(engine: Engine) -> str:
    """Return the precision that an engine runs its base in, for "auto" that of config.json, else of the first tensor.

    BadInput where these files cannot be read.
    """
    with refusing(engine.base, "a causal language model"):
        return _published_dtype(engine.base) if engine.dtype == "auto" else engine.dtype


def _published_dtype(base: Path) -> str:
    path = base / "config.json"
    config = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    parts = (config, config.get("text_config", {}))
    named = [part.get(key) for part in parts for key in ("dtype", "torch_dtype")]
    if dtype := next((dtype for dtype in named if dtype in DTYPES), None):
        return str(dtype)
    for path in sorted(base.glob("*.safetensors")):
        with path.open("rb") as file:
            header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        tensors = [tensor for name, tensor in header.items() if name != "__metadata__"]
        if stored := [_SAFETENSORS[tensor["dtype"]] for tensor in tensors if tensor["dtype"] in _SAFETENSORS]:
            return stored[0]
    return "float32"


class Prompter:
    """Turns messages into token ids with the base's chat template, identically for every back end."""

    def __init__(self, base: Path) -> None:
        """Load the tokenizer; BadInput where it does not load or lacks a chat template."""
        self._base = name_of(base)
        with refusing(base, "a tokenizer"):
            self.tokenizer = transformers.AutoTokenizer.from_pretrained(base)
        if not self.tokenizer.chat_template:
            raise BadInput(
                f"{self._base} has no chat template, so a persona cannot be its system message: "
                "use the instruct version of the model, or add chat_template.jinja to its tokenizer."
            )
        self._known: dict[str, list[int]] = {}

    def encode(self, requests: Sequence[Request], room: int | None) -> Prompts:
        """Return the token ids of every request's prompt, by id. Each distinct list of messages is rendered once.

        BadInput for a system message that the template leaves out, and for a prompt that is empty or that, with its
        max_tokens, exceeds `room` positions (None: no limit).
        """
        keys = {r.id: json.dumps(r.messages) for r in requests}
        new = {keys[r.id]: r.messages for r in requests if keys[r.id] not in self._known}
        if new:
            texts = [chat_template.rendered(self.tokenizer, chat, self._base) for chat in new.values()]
            encoded = self.tokenizer(texts, add_special_tokens=False)["input_ids"]
            self._known.update(zip(new, encoded, strict=True))
        prompts = {i: self._known[key] for i, key in keys.items()}
        for r in requests:
            length, needed = len(prompts[r.id]), len(prompts[r.id]) + r.sampling.max_tokens
            if not length:
                raise BadInput(f"The prompt of request {r.id!r} is empty after the chat template: give it a message.")
            if room and needed > room:
                raise BadInput(
                    f"Request {r.id!r} needs {length} prompt tokens + max_tokens {r.sampling.max_tokens} = "
                    f"{needed}, but the model has {room} positions: "
                    "shorten the prompt or lower max_tokens (of [sweep], in a recipe)."
                )
        return prompts

    def check(self, chats: Iterable[Messages]) -> None:
        """Raise BadInput for a chat whose messages the template rejects or does not show to the model."""
        for chat in chats:
            chat_template.rendered(self.tokenizer, chat, self._base)

    def facts(self, chat: Messages, notes: Sequence[str]) -> dict[str, Any]:
        """Return the facts of `Sampler.facts`."""
        default = chat_template.default_system(self.tokenizer, chat, self._base)
        return ({"default_system": default} if default else {}) | ({"notes": list(notes)} if notes else {})


def journaled(
    batches: Sequence[list[Request]],
    sample: Callable[[list[list[Request]]], Iterator[list[Completion]]],
    path: Path | None,
    header: dict[str, Any],
    progress: Progress | None,
) -> Iterator[Completion]:
    """Yield the completions in the journal at `path`, then those that `sample` makes of the other batches."""

    def rest(journal: Journal) -> Iterator[list[Completion]]:
        known = {completion.id for completion in journal.done}
        for completions in sample([batch for batch in batches if batch[0].id not in known]):
            journal.append(completions)
            yield completions

    return resume(path, header, sum(map(len, batches)), rest, progress)


def end_tokens(tokenizer: Any, config: Any, generation_config: Any) -> list[int]:
    """Return every token id that ends a completion, from all files that name one."""
    ends: set[int] = set()
    for token_ids in (tokenizer.eos_token_id, generation_config.eos_token_id, config.eos_token_id):
        ends |= set(token_ids) if isinstance(token_ids, list) else {token_ids} - {None}
    return sorted(ends)


def weights_digest(folder: Path) -> str:
    """Return a sha256 of the weights, configuration and tokenizer of the model in `folder`."""
    combined = hashlib.sha256()
    for path in sorted(p for p in folder.iterdir() if p.suffix in {".json", ".safetensors", ".jinja", ".model"}):
        with path.open("rb") as file:
            combined.update(f"{path.name}\0{hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return combined.hexdigest()
