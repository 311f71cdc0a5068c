"""The transformers back end: any causal LM, batches by length, adapters of one base without reloading it.

How a batch is decoded, and what was measured: `decoding.py`.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import transformers
from jinja2 import TemplateError

from permix import sampler
from permix.engines import decoding
from permix.engines.adapters import Adapters
from permix.errors import BadInput
from permix.sampler import Completion, Engine, Request

if TYPE_CHECKING:
    from permix.progress import Progress

Prompts = dict[str, list[int]]


class TransformersSampler:
    """A base model in memory. With float32 an adapter is merged into a copy, otherwise it runs beside the weights."""

    def __init__(self, engine: Engine) -> None:
        """Load the base; BadInput where model, tokenizer or dtype are not usable."""
        self.engine, self.dtype = engine, engine.dtype
        dtype = getattr(torch, engine.dtype, None)
        if dtype not in (torch.float32, torch.bfloat16, torch.float16):
            raise BadInput(f"The dtype is {engine.dtype!r}: it should be float32, bfloat16 or float16.")
        transformers.utils.logging.disable_progress_bar()
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        try:
            self._tokenizer = transformers.AutoTokenizer.from_pretrained(engine.base)
            model = transformers.AutoModelForCausalLM.from_pretrained(engine.base, dtype=dtype)
        except (OSError, ValueError) as error:
            reason = str(error).splitlines()[0]
            raise BadInput(f"{engine.base} does not load as a causal language model with tokenizer: {reason}") from None
        if not self._tokenizer.chat_template:
            raise BadInput(f"The tokenizer in {engine.base} has no chat template: add chat_template.jinja.")
        self._base = model.to(self._device).eval()
        self._adapters = Adapters(self._base, str(engine.base))
        self._eos = _end_tokens(model, self._tokenizer)
        self._prompts: dict[str, list[int]] = {}
        self._base_digest = ""
        self._name = f"transformers {transformers.__version__} {self._device.type} {engine.dtype}"

    def sample(
        self, requests: Sequence[Request], journal: Path | None = None, progress: "Progress | None" = None
    ) -> Iterator[Completion]:
        """Sample every request once; with `journal`, what an earlier call finished comes first and is not done again.

        All requests are checked before the first is sampled: BadInput for a prompt that does not fit the model.
        """
        header = {"requests": sampler.digest(requests)} if journal else {}
        prompts = self._encode(requests)
        batches = plan(requests, {i: len(p) for i, p in prompts.items()}, self.engine.batch_size)
        return self._run(batches, prompts, journal, header, progress)

    def close(self) -> None:
        """Give back the memory of the model."""
        del self._base, self._adapters
        if self._device.type == "cuda":
            torch.cuda.empty_cache()

    def _run(
        self,
        batches: Sequence[Sequence[Request]],
        prompts: Prompts,
        journal: Path | None,
        header: dict[str, Any],
        progress: "Progress | None",
    ) -> Iterator[Completion]:
        torch.set_num_threads(self.engine.threads)
        with sampler.Journal(journal, {**header, **self._settings()}) if journal else nullcontext() as book:
            old = [c for completions in book.done for c in completions] if book else []
            known, done, total = {c.id for c in old}, len(old), sum(map(len, batches))
            if progress:
                progress(done, total, "completions", book.note if book else "")
            yield from old
            for batch in batches:
                if batch[0].id in known:
                    continue
                completions = self._batch(batch, prompts)
                if book:
                    book.append(completions)
                done += len(completions)
                if progress:
                    progress(done, total, "completions")
                yield from completions

    def _batch(self, batch: Sequence[Request], prompts: Prompts) -> list[Completion]:
        adapter = batch[0].adapter
        rows = [decoding.Row(prompts[r.id], r.sampling, r.seed) for r in batch]
        with self._adapters.use(adapter, rows[0].prompt) as model:
            outcomes = decoding.decode(model, self._tokenizer, self._eos, rows)
        return [
            Completion(r.id, o.text, len(row.prompt), o.tokens, o.finish, self._name, adapter.digest if adapter else "")
            for r, row, o in zip(batch, rows, outcomes, strict=True)
        ]

    def _encode(self, requests: Sequence[Request]) -> Prompts:
        """Token ids of every request's prompt; each distinct list of messages is rendered once in an engine's life."""
        keys = {r.id: json.dumps(r.messages) for r in requests}
        new = {keys[r.id]: r.messages for r in requests if keys[r.id] not in self._prompts}
        if new:
            texts = [self._render(messages) for messages in new.values()]
            encoded = self._tokenizer(texts, add_special_tokens=False)["input_ids"]
            self._prompts.update(zip(new, encoded, strict=True))
        prompts = {i: self._prompts[key] for i, key in keys.items()}
        room = getattr(self._base.config.get_text_config(), "max_position_embeddings", None)
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
            text: str = self._tokenizer.apply_chat_template(
                messages, tokenize=False, add_generation_prompt=True, **sampler.CHAT_TEMPLATE_KWARGS
            )
        except TemplateError as error:  # Gemma 2, for one, knows no system message
            raise BadInput(f"The chat template of {self.engine.base} refuses a request's messages: {error}.") from None
        return text

    def _settings(self) -> dict[str, Any]:
        """What decides the completions beside the requests: a journal must not go on under others."""
        self._base_digest = self._base_digest or _weights_digest(self.engine.base)
        e = self.engine
        return {"base": self._base_digest, "engine": self._name, "batch_size": e.batch_size, "threads": e.threads}


def plan(requests: Sequence[Request], lengths: dict[str, int], size: int) -> list[list[Request]]:
    """Cut the requests into batches of one adapter each: a fixed function of the set, whatever its order.

    Sorted by prompt length, so that little is padding; equal prompts stay together, so that they are read once.
    """

    def adapter(r: Request) -> str:
        return r.adapter.digest if r.adapter else ""

    def order(r: Request) -> tuple[str, int, str, str]:
        return adapter(r), lengths[r.id], json.dumps(r.messages), r.id

    batches: list[list[Request]] = []
    for _, group in groupby(sorted(requests, key=order), key=adapter):
        rows = list(group)
        batches += [rows[i : i + size] for i in range(0, len(rows), size)]
    return batches


def _end_tokens(model: Any, tokenizer: Any) -> list[int]:
    ends: set[int] = set()
    for found in (tokenizer.eos_token_id, model.generation_config.eos_token_id, model.config.eos_token_id):
        ends |= set(found) if isinstance(found, list) else {found} - {None}
    return sorted(ends)


def _weights_digest(folder: Path) -> str:
    whole = hashlib.sha256()
    for path in sorted(p for p in folder.iterdir() if p.suffix in {".json", ".safetensors", ".jinja", ".model"}):
        with path.open("rb") as file:
            whole.update(f"{path.name}\0{hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return whole.hexdigest()
