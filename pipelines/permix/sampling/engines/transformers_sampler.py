"""The transformers back end: any causal LM, batches by length, adapters of one base without reloading it.

How a batch is decoded, and what was measured: `decoding.py`.
"""

import json
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import transformers

from permix.errors import BadInput
from permix.sampling import sampler
from permix.sampling.engines import decoding
from permix.sampling.engines.adapters import Adapters
from permix.sampling.engines.local import DTYPES, Prompter, Prompts, end_tokens, journaled, weights_digest
from permix.sampling.engines.quantised import NF4, load_in_4bit, refuse_without_bitsandbytes
from permix.sampling.engines.streaming import pieces
from permix.sampling.sampler import Completion, Engine, Request

if TYPE_CHECKING:
    from permix.progress import Progress


class TransformersSampler:
    """A base model in memory. With float32 an adapter is merged into a copy, otherwise it runs beside the weights.

    The dtypes nf4 and nf4-nested quantise the base as QLoRA does, so that its adapters are measured on what they were
    trained over.
    """

    def __init__(self, engine: Engine) -> None:
        """Load the base; BadInput where model, tokenizer or dtype are not usable."""
        self.engine, self.dtype = engine, engine.dtype
        if engine.dtype in NF4:
            refuse_without_bitsandbytes(f"The dtype {engine.dtype}")
        elif engine.dtype not in DTYPES:
            raise BadInput(f"The dtype is {engine.dtype!r}: it should be {', '.join(DTYPES)}, {' or '.join(NF4)}.")
        transformers.utils.logging.disable_progress_bar()
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._prompter = Prompter(engine.base)
        try:
            self._base = self._load().eval()
        except (OSError, ValueError) as error:
            reason = str(error).splitlines()[0]
            raise BadInput(f"{engine.base} does not load as a causal language model: {reason}") from None
        config = self._base.config
        self._adapters = Adapters(self._base, str(engine.base))
        self._room = getattr(config.get_text_config(), "max_position_embeddings", None)
        self._eos = end_tokens(self._prompter.tokenizer, config, self._base.generation_config)
        self._base_digest = ""
        self._name = f"transformers {transformers.__version__} {self._device.type} {engine.dtype}"

    def sample(
        self, requests: Sequence[Request], journal: Path | None = None, progress: "Progress | None" = None
    ) -> Iterator[Completion]:
        """Sample every request once; with `journal`, what an earlier call finished comes first and is not done again.

        All requests are checked before the first is sampled: BadInput for a prompt that does not fit the model.
        """
        _refuse_schema(requests)
        header = {"requests": sampler.digest(requests), **self._settings()} if journal else {}
        prompts = self._prompter.encode(requests, self._room)
        batches = plan(requests, {i: len(p) for i, p in prompts.items()}, self.engine.batch_size)
        return journaled(batches, lambda todo: (self._batch(b, prompts) for b in todo), journal, header, progress)

    def stream(self, request: Request) -> Iterator[str]:
        """The completion of one request in pieces: the text, with the same noise, that `sample` gives for it alone."""
        _refuse_schema([request])
        torch.set_num_threads(self.engine.threads)
        prompt = self._prompter.encode([request], self._room)[request.id]
        row = decoding.Row(prompt, request.sampling, request.seed)
        with self._adapters.use(request.adapter, prompt) as model:
            texts = decoding.stream(model, self._prompter.tokenizer, self._eos, row)
            yield from pieces(texts, request.sampling.stop)

    def close(self) -> None:
        """Give back the memory of the model."""
        del self._base, self._adapters
        if self._device.type == "cuda":
            torch.cuda.empty_cache()

    def _load(self) -> Any:
        e = self.engine
        if e.dtype in NF4:
            return load_in_4bit(e.base, self._device, kind="nf4", nested=NF4[e.dtype])
        return transformers.AutoModelForCausalLM.from_pretrained(e.base, dtype=e.dtype).to(self._device)

    def _batch(self, batch: Sequence[Request], prompts: Prompts) -> list[Completion]:
        torch.set_num_threads(self.engine.threads)
        adapter = batch[0].adapter
        rows = [decoding.Row(prompts[r.id], r.sampling, r.seed) for r in batch]
        with self._adapters.use(adapter, rows[0].prompt) as model:
            outcomes = decoding.decode(model, self._prompter.tokenizer, self._eos, rows)
        return [
            Completion(r.id, o.text, len(row.prompt), o.tokens, o.finish, self._name, adapter.digest if adapter else "")
            for r, row, o in zip(batch, rows, outcomes, strict=True)
        ]

    def _settings(self) -> dict[str, Any]:
        """What decides the completions beside the requests: a journal must not go on under others."""
        self._base_digest = self._base_digest or weights_digest(self.engine.base)
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


def _refuse_schema(requests: Sequence[Request]) -> None:
    if any(r.sampling.json_schema for r in requests):
        raise BadInput("The transformers back end cannot follow a JSON schema: use the vLLM back end or an endpoint.")
