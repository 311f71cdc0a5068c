"""The types of sampling: one protocol for every back end (DESIGN, section 7)."""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from permix.errors import BadInput
from permix.progress import Progress
from permix.prompting.prompts import Messages
from permix.run_record import setting

Backend = Literal["transformers", "vllm"]
Dtype = Literal["auto", "float32", "bfloat16", "float16", "nf4", "nf4-nested"]
"""Precisions of a base model run on this machine; auto is the one that the base is published in."""

CHAT_TEMPLATE_KWARGS = {"date_string": "26 Jul 2024", "enable_thinking": False}
"""Passed to every chat template, which ignores unknown names. Llama's template would insert today's date (this date is
Llama 3.1's own), Qwen3's would make the model think before it answers.
"""


@dataclass(frozen=True)
class Sampling:
    """How to sample. `stop` strings end a completion and are not part of it.

    `json_schema`, a JSON Schema as text, asks for a completion that follows it (vLLM and endpoints only).
    """

    temperature: float = setting(1.0, help="sampling temperature (0: greedy)")
    top_p: float = setting(1.0, help="sample from the most likely tokens with this total probability")
    max_tokens: int = setting(512, help="maximum tokens of a completion")
    stop: tuple[str, ...] = ()
    json_schema: str = ""

    def __post_init__(self) -> None:
        """Raise BadInput for settings that no back end can follow."""
        if not self.temperature >= 0:
            raise BadInput(f"The temperature is {self.temperature}: it must be 0 (greedy) or more.")
        if not 0 < self.top_p <= 1:
            raise BadInput(f"top_p is {self.top_p}: it must be more than 0 and at most 1.")
        if self.max_tokens < 1:
            raise BadInput(f"max_tokens is {self.max_tokens}: it must be at least 1.")
        if "" in self.stop:  # true for a bare string too
            raise BadInput(f"stop is {self.stop!r}: it must be a tuple of strings that are not empty.")


@dataclass(frozen=True)
class Adapter:
    """A LoRA adapter folder; `digest` is its content digest and goes into every completion."""

    path: Path
    digest: str


@dataclass(frozen=True)
class Engine:
    """The folder of one base model, and how to run it."""

    base: Path
    backend: Backend = setting("transformers", help="engine for models on this machine: transformers or vllm")
    batch_size: int = setting(256, help="completions sampled together. Changes the result through rounding")
    dtype: str = setting(
        "auto", help="precision of the base: auto (as published), float32, bfloat16, float16, nf4, nf4-nested (4 bits)"
    )
    threads: int = 1
    gpus: int = setting(1, help="replicas of the model (vLLM)")
    tensor_parallel: int = setting(1, help="devices per replica (vLLM). Changes the result through rounding")
    max_lora_rank: int = setting(16, help="maximum rank of an adapter (vLLM)")


@dataclass(frozen=True)
class Endpoint:
    """A model behind an OpenAI-compatible server at `url` (`https://host/v1`).

    `key` names the environment variable with the API key; prices are USD per million tokens; `budget` (USD, 0: none)
    stops the sampling before exceeding it.
    """

    model: str
    url: str
    key: str = ""
    concurrency: int = 64
    timeout: float = 600.0
    price_in: float = 0.0
    price_out: float = 0.0
    budget: float = 0.0

    def price(self, tokens_in: float, tokens_out: float) -> float:
        """Return the price in USD of these tokens."""
        return (tokens_in * self.price_in + tokens_out * self.price_out) / 1e6


@dataclass(frozen=True)
class Request:
    """One completion to sample. Its noise depends on `seed` alone, not on the rest of the batch."""

    id: str
    messages: Messages
    sampling: Sampling
    seed: int
    adapter: Adapter | None = None

    @property
    def adapter_digest(self) -> str:
        """The digest of the adapter, "" for the base."""
        return self.adapter.digest if self.adapter else ""


@dataclass(frozen=True)
class EncodedRequest:
    """A request whose messages are token ids."""

    prompt: list[int]
    sampling: Sampling
    seed: int
    adapter: Adapter | None = None


def seed_of(*identity: object) -> int:
    """Return the seed of one request, 56 bits, from everything that identifies it."""
    return int.from_bytes(hashlib.sha256("\0".join(map(str, identity)).encode()).digest()[:7], "big")


@dataclass(frozen=True)
class Completion:
    """The model's answer to request `id`.

    `tokens_out` counts the sampled tokens, with the end token and a stop string. `finish` is "length" when the text was
    cut at max_tokens, "refusal" when the server refused the prompt (a content filter), "error" when the engine failed;
    `reason` has the server's words. `adapter_digest` is "" for the base.
    """

    id: str
    text: str
    tokens_in: int
    tokens_out: int
    finish: Literal["stop", "length", "refusal", "error"]
    engine: str
    adapter_digest: str
    reason: str = ""


def is_limit(finish: object) -> bool:
    """Return whether a server's word for the end of a text (`max_tokens`, `model_length`) means the token limit."""
    return bool(re.search(r"length|max|limit|window|truncat", str(finish), re.IGNORECASE))


def packages_of(backend: Backend) -> tuple[str, ...]:
    """Return the packages that a back end imports."""
    return ("torch", "transformers", "peft", *(["vllm"] if backend == "vllm" else []))


class Sampler(Protocol):
    """A running engine. Completions come in any order, those of an earlier call (`journal`) first."""

    dtype: str

    def sample(
        self, requests: Sequence[Request], journal: Path | None = None, progress: Progress | None = None
    ) -> Iterator[Completion]:
        """Sample every request once; progress counts completions."""
        ...

    def stream(self, request: Request) -> Generator[str, None, str]:
        """Yield the text that `sample` gives for one request, in pieces where the engine can; return its `finish`."""
        ...

    def check(self, chats: Iterable[Messages]) -> None:
        """Raise BadInput for a chat whose system message the model would not see; a server's template is unknown."""
        ...

    def facts(self, chat: Messages, adapter: Adapter | None) -> dict[str, Any]:
        """Return facts about the model that was sampled, for the run record; each key is omitted if it has none.

        `default_system` is the system message that the template adds to `chat`, `notes` are sentences on the adapter,
        `dialect` has the parameters that a server refused.
        """
        ...

    def close(self) -> None:
        """Free the memory of the model."""
        ...


def digest(requests: Sequence[Request]) -> str:
    """Return a sha256 of the set of requests, in any order; BadInput where two have the same id."""
    lines = {r.id: [r.id, r.messages, asdict(r.sampling), r.seed, r.adapter and r.adapter.digest] for r in requests}
    if len(lines) < len(requests):
        name = Counter(r.id for r in requests).most_common(1)[0][0]
        raise BadInput(f"Two requests have the id {name!r}: ids must be unique.")
    combined = hashlib.sha256()
    for _, line in sorted(lines.items()):
        combined.update(json.dumps(line, sort_keys=True).encode() + b"\n")
    return combined.hexdigest()
