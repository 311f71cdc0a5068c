"""The transformers back end: any causal LM, batches by length, adapters of one base without reloading it."""

import json
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import Any

import torch
import transformers

from permix.errors import BadInput, PermixError
from permix.progress import Progress
from permix.prompting.prompts import Messages
from permix.sampling import sampler
from permix.sampling.engines import decoding
from permix.sampling.engines.adapters import Adapters
from permix.sampling.engines.local import (
    DTYPES,
    Prompter,
    Prompts,
    dtype_of,
    end_tokens,
    journaled,
    refusing,
    weights_digest,
)
from permix.sampling.engines.memory import refuse_too_large
from permix.sampling.engines.quantised import NF4, load_in_4bit, refuse_without_bitsandbytes
from permix.sampling.engines.streaming import pieces
from permix.sampling.sampler import Adapter, Completion, EncodedRequest, Engine, Request


class TransformersSampler:
    """A base model in memory. In float32 an adapter is merged into a copy, otherwise it runs beside the weights.

    The dtypes nf4 and nf4-nested quantise the base as QLoRA training does.
    """

    def __init__(self, engine: Engine) -> None:
        """Load the base; BadInput where model, tokenizer or dtype are not usable."""
        self.engine = engine
        self.dtype = dtype_of(engine)
        if self.dtype in NF4:
            refuse_without_bitsandbytes(f"The dtype {self.dtype}")
        elif self.dtype not in DTYPES:
            raise BadInput(f"The dtype is {self.dtype!r}: it should be auto, {', '.join(DTYPES)}, {' or '.join(NF4)}.")
        transformers.utils.logging.disable_progress_bar()
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._prompter = Prompter(engine.base)
        with refusing(engine.base, "a causal language model"):
            self._base = self._load().eval()
        config = self._base.config
        self._adapters = Adapters(self._base, str(engine.base))
        self._room = getattr(config.get_text_config(), "max_position_embeddings", None)
        self._eos = end_tokens(self._prompter.tokenizer, config, self._base.generation_config)
        self._base_digest = ""
        self._name = f"transformers {transformers.__version__} {self._device.type} {self.dtype}"

    def sample(
        self, requests: Sequence[Request], journal: Path | None = None, progress: Progress | None = None
    ) -> Iterator[Completion]:
        """Sample every request once; completions in the journal come first and are not sampled again.

        BadInput, before the first request is sampled, for a prompt that does not fit the model or that leaves out its
        system message, and for an adapter that cannot be measured.
        """
        _refuse_schema(requests)
        for adapter in {r.adapter.digest: r.adapter for r in requests if r.adapter}.values():
            self._adapters.check(adapter)
        header = {"requests": sampler.digest(requests), **self._settings()} if journal else {}
        prompts = self._prompter.encode(requests, self._room)
        batches = plan(requests, {i: len(p) for i, p in prompts.items()}, self.engine.batch_size)
        return journaled(batches, lambda todo: (self._batch(b, prompts) for b in todo), journal, header, progress)

    def stream(self, request: Request) -> Generator[str, None, str]:
        """Yield the text that `sample` gives for this request alone, in pieces; return its finish."""
        _refuse_schema([request])
        torch.set_num_threads(self.engine.threads)
        prompt = self._prompter.encode([request], self._room)[request.id]
        encoded = EncodedRequest(prompt, request.sampling, request.seed)
        with self._adapters.use(request.adapter, prompt) as model:
            texts = decoding.stream(model, self._prompter.tokenizer, self._eos, encoded)
            with self._finite():
                return (yield from pieces(texts, request.sampling.stop))

    def check(self, chats: Iterable[Messages]) -> None:
        """Raise BadInput for a chat whose system message the template does not show to the model."""
        self._prompter.check(chats)

    def facts(self, chat: Messages, adapter: Adapter | None) -> dict[str, Any]:
        """Return the template's default system message for `chat`, and notes on the adapter."""
        return self._prompter.facts(chat, self._adapters.notes.get(adapter.digest, []) if adapter else [])

    def close(self) -> None:
        """Free the memory of the model."""
        del self._base, self._adapters
        if self._device.type == "cuda":
            torch.cuda.empty_cache()

    def _load(self) -> Any:
        base = self.engine.base
        refuse_too_large(base, base, self.dtype, cuda=self._device.type == "cuda")
        if self.dtype in NF4:
            return load_in_4bit(base, self._device, kind="nf4", nested=NF4[self.dtype])
        return transformers.AutoModelForCausalLM.from_pretrained(base, dtype=self.dtype).to(self._device)

    def _batch(self, batch: Sequence[Request], prompts: Prompts) -> list[Completion]:
        torch.set_num_threads(self.engine.threads)
        encoded = [EncodedRequest(prompts[r.id], r.sampling, r.seed) for r in batch]
        with self._adapters.use(batch[0].adapter, encoded[0].prompt) as model, self._finite():
            outcomes = decoding.decode(model, self._prompter.tokenizer, self._eos, encoded)
        return [
            Completion(r.id, o.text, len(prompts[r.id]), o.tokens, o.finish, self._name, r.adapter_digest)
            for r, o in zip(batch, outcomes, strict=True)
        ]

    @contextmanager
    def _finite(self) -> Iterator[None]:
        try:
            yield
        except FloatingPointError:
            raise PermixError(
                f"The base {self.engine.base} gives logits that are infinite or NaN in {self.dtype}: use another dtype."
            ) from None

    def _settings(self) -> dict[str, Any]:
        """Return the settings that decide the completions; a journal resumes under the same ones only."""
        self._base_digest = self._base_digest or weights_digest(self.engine.base)
        sizes = {"batch_size": self.engine.batch_size, "threads": self.engine.threads}
        return {"base": self._base_digest, "engine": self._name, **sizes}


def plan(requests: Sequence[Request], lengths: dict[str, int], size: int) -> list[list[Request]]:
    """Cut the requests into batches of one adapter each, as a function of the set, not of its order.

    Sorting by prompt length saves padding; equal prompts stay together and are read once.
    """

    def order(r: Request) -> tuple[str, int, str, str]:
        return r.adapter_digest, lengths[r.id], json.dumps(r.messages), r.id

    batches: list[list[Request]] = []
    for _, group in groupby(sorted(requests, key=order), key=lambda r: r.adapter_digest):
        ordered = list(group)
        batches += [ordered[i : i + size] for i in range(0, len(ordered), size)]
    return batches


def _refuse_schema(requests: Sequence[Request]) -> None:
    if any(r.sampling.json_schema for r in requests):
        raise BadInput("The transformers back end cannot follow a JSON schema: use the vLLM back end or an endpoint.")
