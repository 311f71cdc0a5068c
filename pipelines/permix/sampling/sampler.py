"""One way to sample completions, whatever runs the model (DESIGN: generation)."""

import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, Self

from permix.errors import BadInput
from permix.prompting.prompts import Messages

if TYPE_CHECKING:
    from permix.progress import Progress

Backend = Literal["transformers", "vllm"]
Dtype = Literal["float32", "bfloat16", "float16", "nf4", "nf4-nested"]
"""The precision of a base that is run here."""

CHAT_TEMPLATE_KWARGS = {"date_string": "26 Jul 2024", "enable_thinking": False}
"""Given to every chat template, which ignores what it does not know: Llama's would put today's date into the prompt
(the date is the one in Llama 3.1's), Qwen3's would have the model think before it answers.
"""


@dataclass(frozen=True)
class Sampling:
    """How to sample. `stop` strings end a completion and are not part of it.

    `json_schema`, a JSON Schema as text, asks for a completion that follows it (vLLM and endpoints only).
    """

    temperature: float = field(default=1.0, metadata={"help": "temperature of the sampling; 0 is greedy"})
    top_p: float = field(
        default=1.0, metadata={"help": "samples among the likeliest tokens that have this probability together"}
    )
    max_tokens: int = field(default=512, metadata={"help": "cuts a completion after so many tokens"})
    stop: tuple[str, ...] = ()
    json_schema: str = ""

    def __post_init__(self) -> None:
        """Refuse settings that no back end could follow."""
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
    """What an engine is opened for: the folder of one base model, and how to run it."""

    base: Path
    backend: Backend = field(
        default="transformers", metadata={"help": "what runs the models here, transformers or vllm"}
    )
    batch_size: int = field(
        default=256, metadata={"help": "completions that are sampled together; changes rounding, and so the result"}
    )
    dtype: str = field(
        default="float32",
        metadata={"help": "precision of the base: float32, bfloat16, float16, nf4 or nf4-nested (4 bits)"},
    )
    threads: int = 1
    gpus: int = field(default=1, metadata={"help": "replicas of the model, of vLLM"})
    tensor_parallel: int = field(default=1, metadata={"help": "devices of one replica, of vLLM; changes rounding"})
    max_lora_rank: int = field(default=16, metadata={"help": "the highest rank of an adapter, of vLLM"})


@dataclass(frozen=True)
class Endpoint:
    """A model behind an OpenAI-compatible server at `url` (`https://host/v1`).

    `key` names the environment variable with the API key; prices are USD per million tokens; `budget` (USD, 0: none)
    ends the sampling before it is passed.
    """

    model: str
    url: str
    key: str = ""
    concurrency: int = 64
    timeout: float = 600.0
    price_in: float = 0.0
    price_out: float = 0.0
    budget: float = 0.0


@dataclass(frozen=True)
class Request:
    """One completion to sample. `seed` alone decides its noise, whatever else is in the batch."""

    id: str
    messages: Messages
    sampling: Sampling
    seed: int
    adapter: Adapter | None = None


def seed_of(*what: object) -> int:
    """The seed of one request, 56 bits, from all that tells it from others."""
    return int.from_bytes(hashlib.sha256("\0".join(map(str, what)).encode()).digest()[:7], "big")


@dataclass(frozen=True)
class Completion:
    """What came back for request `id`.

    `tokens_out` counts what was sampled, the end token and a stop string included. `finish` is "length" when it was
    cut at max_tokens, "error" when the engine failed. `adapter_digest` is "" for the base.
    """

    id: str
    text: str
    tokens_in: int
    tokens_out: int
    finish: Literal["stop", "length", "error"]
    engine: str
    adapter_digest: str


def packages_of(backend: Backend) -> tuple[str, ...]:
    """What a back end imports, for the NEEDS of a stage."""
    return ("torch", "transformers", "peft", *(["vllm"] if backend == "vllm" else []))


class Sampler(Protocol):
    """A running engine. Completions come in any order, those of an earlier, killed call (`journal`) first."""

    dtype: str

    def sample(
        self, requests: Sequence[Request], journal: Path | None = None, progress: "Progress | None" = None
    ) -> Iterator[Completion]:
        """Sample every request once; progress is told in completions."""
        ...

    def stream(self, request: Request) -> Iterator[str]:
        """The completion of one request in pieces as it is sampled: together the text that `sample` gives.

        An engine that cannot stream gives it in one piece.
        """
        ...

    def close(self) -> None:
        """Give back the memory of the model."""
        ...


def digest(requests: Sequence[Request]) -> str:
    """What is asked for, as a sha256: the same for any order of `requests`; BadInput where an id stands twice."""
    lines = {r.id: [r.id, r.messages, asdict(r.sampling), r.seed, r.adapter and r.adapter.digest] for r in requests}
    if len(lines) < len(requests):
        twice = Counter(r.id for r in requests).most_common(1)[0][0]
        raise BadInput(f"The request id {twice!r} stands twice: ids must be unique.")
    whole = hashlib.sha256()
    for _, line in sorted(lines.items()):
        whole.update(json.dumps(line, sort_keys=True).encode() + b"\n")
    return whole.hexdigest()


class Journal:
    """Finished batches in one JSONL file: a header line that says what for, then one line per batch.

    A line is on the disk before its completions are handed out, and a torn last line is dropped, so a batch is there
    wholly or not at all. A journal with another header is moved aside to `<name>.old` and a new one begun; `note` says
    so and why.
    """

    def __init__(self, path: Path, header: dict[str, Any]) -> None:
        """Open or begin the journal at `path`; `header` is compared key by key."""
        self.done: list[list[Completion]] = []
        self.note = ""
        header = json.loads(json.dumps({"journal": 1, **header}))
        path.parent.mkdir(parents=True, exist_ok=True)
        whole = _whole_lines(path)
        if whole and whole[0] != header:
            old = whole[0] if isinstance(whole[0], dict) else {}
            other = ", ".join(sorted(k for k in old.keys() | header.keys() if old.get(k) != header.get(k)))
            path.replace(path.with_name(path.name + ".old"))
            self.note = f"started anew: the journal was of other {other}, it is now {path.name}.old"
            whole = []
        self.done = [[Completion(**row) for row in line["completions"]] for line in whole[1:]]
        self._file = path.open("ab")
        if not whole:
            self._file.truncate(0)
            self._write(header)

    def append(self, completions: Sequence[Completion]) -> None:
        """Put one finished batch on the disk."""
        self._write({"completions": [asdict(c) for c in completions]})

    def _write(self, line: dict[str, Any]) -> None:
        self._file.write(json.dumps(line, ensure_ascii=False).encode() + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file."""
        self._file.close()


def _whole_lines(path: Path) -> list[Any]:
    """Read the lines of a journal and cut off a torn one at its end."""
    if not path.is_file():
        return []
    lines: list[Any] = []
    with path.open("rb+") as file:
        good = 0
        for line in file:
            if not line.endswith(b"\n"):
                break
            try:
                lines.append(json.loads(line))
            except ValueError:
                break
            good += len(line)
        file.truncate(good)
    return lines
