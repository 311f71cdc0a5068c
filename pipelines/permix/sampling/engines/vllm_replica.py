"""One vLLM engine in a process of its own, which `vllm_sampler.py` calls over a pipe.

A process frees all of a device's memory when it ends, sees its own devices alone, and ends with its owner. vLLM's
scheduler runs inside this process, not in another one: all requests of a chunk are then known before the first step,
so that the floating point is a function of the chunk. (https://docs.vllm.ai/en/latest/usage/reproducibility/)
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from permix import processes
from permix.errors import BadInput, PermixError
from permix.sampling.sampler import Adapter, EncodedRequest, Sampling

ENVIRONMENT = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
    "VLLM_LOGGING_LEVEL": "ERROR",
    "HF_HUB_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "VLLM_CPU_KVCACHE_SPACE": "1",  # GiB
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",  # otherwise two workers get the same cores
}
"""Variables of a replica's process; the user's own settings of vLLM take precedence."""

CPU_POSITIONS = 8192
"""Most positions on a CPU, where every prompt is read in one piece: chunked prefill rewinds the generators of seeded
requests, which CPU generators cannot do (RuntimeError in vLLM 0.32)."""
RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""The values that vLLM accepts as the highest rank of an engine."""
ACTIVE, LOADED = 4, 16
"""LoRA adapters in one step, and in the memory of the host."""


@dataclass(frozen=True)
class Setup:
    """An engine: `rows` decoded at once, adapters up to `rank` (0: none), `positions` of the model's config."""

    base: Path
    dtype: str
    rows: int
    rank: int
    tensor_parallel: int
    positions: int | None


Outcome = tuple[list[int], Literal["stop", "length"]]
"""The sampled token ids, the last one included, and the reason of the end."""


class Replica:
    """The parent's end of one engine process."""

    positions: int

    def __init__(self, devices: str, threads: int) -> None:
        """Start the process, which waits for the call `open`."""
        environment = ENVIRONMENT | processes.without_secrets()
        environment |= {"OMP_NUM_THREADS": str(threads), "PYTHONWARNINGS": "ignore"}
        environment |= {"CUDA_VISIBLE_DEVICES": devices} if devices else {}
        self._child, self.pipe = processes.start(main, environment, 2)  # vLLM prints much

    def ask(self, method: str, *arguments: Any) -> None:
        """Begin a call; `answer` waits for its value."""
        try:
            self.pipe.send((method, arguments))
        except OSError:
            raise self._death() from None

    def answer(self) -> Any:
        """Return the value of the last call or raise its error; PermixError when the process died."""
        try:
            value = self.pipe.recv()
        except (EOFError, OSError):
            raise self._death() from None
        if isinstance(value, PermixError):
            raise value
        return value

    def kill(self) -> None:
        """End the process now."""
        self.pipe.close()
        self._child.kill()
        self._child.wait()

    def _death(self) -> PermixError:
        code = self._child.wait()
        end = f"was killed by signal {-code} (out of memory?)" if code < 0 else f"ended with code {code}"
        return PermixError(f"The process of the vLLM engine {end}: run again to continue.")


def main(descriptor: int) -> None:
    """Answer calls (method, arguments), the first of which is `open`, until the pipe closes."""
    pipe = processes.attach(descriptor)
    engine = _Engine()
    while True:
        try:
            method, arguments = pipe.recv()
            pipe.send(_answer(engine, method, arguments))
        except (EOFError, OSError):
            os._exit(0)  # the owner ended; a normal exit would wait for vLLM's threads


def _answer(engine: "_Engine", method: str, arguments: tuple[Any, ...]) -> Any:
    try:
        return getattr(engine, method)(*arguments)
    except Exception as error:
        return _one_sentence(error)


class _Engine:
    def open(self, setup: Setup, ends: list[int]) -> int:
        """Load the model, sample one token so that a broken engine fails here, and return its positions."""
        from vllm import LLM
        from vllm.platforms import current_platform

        self._ends, self._adapters = ends, dict[str, Any]()
        options: dict[str, Any] = {"max_model_len": -1}  # the most that fits the device
        if current_platform.is_cpu():
            positions = min(setup.positions or CPU_POSITIONS, CPU_POSITIONS)
            options = {
                "max_model_len": positions,
                "enable_chunked_prefill": False,
                "max_num_batched_tokens": max(4096, positions),
                "enforce_eager": True,
            }
        if setup.rank:
            rank = next(rank for rank in RANKS if rank >= setup.rank)
            options |= {"enable_lora": True, "max_lora_rank": rank, "max_loras": ACTIVE, "max_cpu_loras": LOADED}
        self._llm = LLM(
            model=str(setup.base),
            dtype=setup.dtype,
            max_num_seqs=setup.rows,
            tensor_parallel_size=setup.tensor_parallel,
            generation_config="vllm",  # without the model's own temperature and top_p
            enable_prefix_caching=True,
            use_tqdm_on_load=False,
            **options,
        )
        self.sample([EncodedRequest(ends[:1] or [0], Sampling(temperature=0, max_tokens=1), seed=0)])
        return int(self._llm.llm_engine.model_config.max_model_len)

    def sample(self, requests: list[EncodedRequest]) -> list[Outcome]:
        """Sample one chunk, beginning with an empty prefix cache so that earlier chunks do not matter."""
        self._llm.reset_prefix_cache()
        done = self._llm.generate(
            [{"prompt_token_ids": r.prompt} for r in requests],
            [self._sampling(r) for r in requests],
            lora_request=[self._lora(r.adapter) for r in requests] if any(r.adapter for r in requests) else None,
            use_tqdm=False,
        )
        if odd := {d.outputs[0].finish_reason for d in done} - {"stop", "length"}:  # not journaled, so sampled again
            raise RuntimeError(f"it ended a request with {odd.pop()!r}, run again to continue")
        return [(list(d.outputs[0].token_ids), d.outputs[0].finish_reason) for d in done]

    def logprobs(self, prompt: list[int], adapter: Adapter | None) -> list[float]:
        """Return the log probabilities of the likeliest next tokens and of the prompt's own, for the canary."""
        from vllm import SamplingParams

        params = SamplingParams(temperature=0, max_tokens=1, logprobs=5, prompt_logprobs=1, detokenize=False)
        done = self._llm.generate(
            [{"prompt_token_ids": prompt}], params, lora_request=self._lora(adapter), use_tqdm=False
        )[0]
        positions = [*(done.prompt_logprobs or []), *(done.outputs[0].logprobs or [])]
        return [tokens[token].logprob for tokens in positions if tokens for token in sorted(tokens)]

    def _sampling(self, request: EncodedRequest) -> Any:
        from vllm import SamplingParams
        from vllm.sampling_params import StructuredOutputsParams

        s = request.sampling
        return SamplingParams(
            temperature=s.temperature,
            top_p=s.top_p,
            max_tokens=s.max_tokens,
            seed=request.seed % 2**63,
            stop=list(s.stop),
            stop_token_ids=self._ends,
            detokenize=bool(s.stop),  # the parent makes the text from the ids, as for every back end
            structured_outputs=StructuredOutputsParams(json=s.json_schema) if s.json_schema else None,
        )

    def _lora(self, adapter: Adapter | None) -> Any:
        from vllm.lora.request import LoRARequest

        if adapter is None:
            return None
        known = self._adapters
        if adapter.digest not in known:
            known[adapter.digest] = LoRARequest(adapter.digest, len(known) + 1, str(adapter.path))
        return known[adapter.digest]


def _one_sentence(error: Exception) -> PermixError:
    """Turn an error of vLLM into one sentence; a refusal is the user's input."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    reason = (lines or [type(error).__name__])[-1 if "validation error" in str(error) else 0].rstrip(".")
    refused = isinstance(error, ValueError) or "Validation" in type(error).__name__
    kind = BadInput if refused else PermixError
    return kind(f"vLLM stopped: {reason} ({type(error).__name__}).")
