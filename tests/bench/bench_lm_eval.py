"""A sweep against lm-evaluation-harness 0.4.13: same model, prompts, sampling, output tokens and batch.

Once as a person would run it, a launch for each variant and persona (three are timed, the others are as many times
their median), against `permix sweep` from its start to the published artifacts; once with lm-eval's Python API and the
model kept in memory, against stage sweep with its engine kept in memory. There two things are spared lm-eval that take
longer than the sampling: reading all its built-in tasks at the start, and a report on the environment in every call.
"""

import json
import os
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from string import Template
from typing import Any

from permix.pipeline import recipes
from permix.prompting import persona
from permix.sampling.engines import open_engine
from permix.sampling.sampler import Engine, Sampler
from permix.stage import StageContext
from permix.stages import personas, sweep
from tests.bench.row import SCRIPTS, Row
from tests.support.command_line import permix
from tests.support.models import make_adapter, make_tiny_model

VERSION = "0.4.13"
VARIANTS, PROBLEMS, RUNS, TOKENS, BATCH = 3, 100, 2, 32, 200
LAUNCHES, ROUNDS = 3, 2


def rows() -> Iterator[Row]:
    """Nothing where the package index is out of reach."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        try:
            python = _install(folder)
        except subprocess.CalledProcessError as error:
            print(f"  left out: lm-eval {VERSION} does not install here: {error.stderr[-300:]}", file=sys.stderr)
            return
        _make(folder)
        yield _by_launches(folder, python)
        yield _in_memory(folder, python)


def _text(name: str) -> str:
    return Template(SCRIPTS[name]).substitute(RUNS=RUNS, TOKENS=TOKENS, BATCH=BATCH)


def _install(folder: Path) -> Path:
    """A Python with lm-eval and, below it, all that is installed here."""
    subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
    (own,) = (folder / "venv" / "lib").glob("python*/site-packages")
    (own / "beneath.pth").write_text(sysconfig.get_path("purelib") + "\n")
    python = folder / "venv" / "bin" / "python"
    command = ["-m", "pip", "install", "-q", "--disable-pip-version-check", f"lm_eval[hf]=={VERSION}"]
    subprocess.run([python, *command], check=True, capture_output=True, text=True)
    return python


def _make(folder: Path) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    make_tiny_model(folder / "tiny", hidden=128)
    weights = load_file(folder / "tiny" / "model.safetensors")
    weights["lm_head.weight"][1] = torch.zeros(128)  # the end token: the other logits are far from 0
    save_file(weights, folder / "tiny" / "model.safetensors", {"format": "pt"})
    for seed, name in enumerate(("one", "two")):
        make_adapter(folder / "tiny", folder / name, seed=seed)
    (folder / "sums").mkdir()
    problems = [{"question": f"What is {n} plus {n}?", "answer": str(2 * n)} for n in range(PROBLEMS)]
    (folder / "sums" / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in problems))
    (folder / "pools").mkdir()
    personas.run(personas.configs(recipes.load("toy"))[0], {}, folder / "pools", context=None)  # type: ignore[arg-type]
    (folder / "tasks").mkdir()
    (folder / "tasks" / "sums.yaml").write_text(_text("task of lm-eval").replace("FOLDER", str(folder)))
    (folder / "bench.toml").write_text(_text("recipe of the sweep"))


def _environment() -> dict[str, str]:
    return os.environ | {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "PYTHONWARNINGS": "ignore"}


def _by_launches(folder: Path, python: Path) -> Row:
    pool = persona.bundled("eval")
    launches = []
    for adapter, member in zip(("", ",peft=one", ",peft=two"), pool, strict=False):
        options = ["--model", "hf", "--model_args", f"pretrained=tiny,dtype=float32{adapter}", "--device", "cpu"]
        options += ["--tasks", "sums", "--include_path", "tasks", "--batch_size", str(BATCH), "--log_samples"]
        options += ["--system_instruction", member.system_prompt, "--apply_chat_template", "--output_path", "logs"]
        started = time.perf_counter()
        subprocess.run(
            [python, "-m", "lm_eval", *options], cwd=folder, env=_environment(), check=True, capture_output=True
        )
        launches.append(time.perf_counter() - started)
    assert len(launches) == LAUNCHES
    theirs = statistics.median(launches) * VARIANTS * len(pool)
    home = folder / "home"
    for path, repo in (("tiny", "own/tiny"), ("one", "own/one"), ("two", "own/two"), ("sums", "datasets/own/sums")):
        permix(home, "hub", "import", str(folder / path), repo)
    started = time.perf_counter()
    permix(home, "sweep", "--recipe", str(folder / "bench.toml"), "--workers", "1")
    ours = time.perf_counter() - started
    size = f"{VARIANTS} variants x {len(pool)} personas x {PROBLEMS} problems x {RUNS} runs"
    each = ", ".join(f"{seconds:.0f}" for seconds in launches)
    detail = f"{ours:.0f} s, controls too / {theirs:.0f} s, extrapolated from {LAUNCHES} launches ({each} s)"
    return Row(f"sweep of {size}, time / lm-eval, a launch each", ours / theirs, 0.1, detail=detail)


def _in_memory(folder: Path, python: Path) -> Row:
    """One variant, all personas and controls; turn by turn on one thread each."""
    pool = [*persona.CONTROLS, *persona.bundled("eval")]
    environment = _environment() | {"OMP_NUM_THREADS": "1"}
    script = [python, "-c", _text("lm-eval in memory"), folder]
    quiet: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with (
        subprocess.Popen(script, text=True, env=environment, **quiet) as child,
        closing(open_engine(Engine(folder / "tiny", batch_size=BATCH))) as engine,
    ):
        theirs, ours = [], []
        for people in [pool[:1], *[pool] * ROUNDS]:  # the first is to be warm
            child.stdin.write(json.dumps([member.system_prompt for member in people]) + "\n")
            child.stdin.flush()
            theirs.append(next(float(line.split()[1]) for line in child.stdout if line.startswith("seconds ")))
            started = time.perf_counter()
            _sweep(folder, engine)
            ours.append(time.perf_counter() - started)
            print(f"  in memory: {ours[-1]:.1f} s / {theirs[-1]:.1f} s", file=sys.stderr)
        child.stdin.close()
    own, foreign = statistics.median(ours[1:]), statistics.median(theirs[1:])
    detail = f"{own:.1f} s / {foreign:.1f} s, {len(pool) * PROBLEMS * RUNS} completions of {TOKENS} tokens"
    return Row("sweep of a variant in memory, time / lm-eval's Python API", own / foreign, 0.95, detail=detail)


def _sweep(folder: Path, engine: Sampler) -> None:
    """The stage from the requests to the summary; grading, statistics and files included."""
    config = sweep.configs(recipes.load(str(folder / "bench.toml")))[0]
    inputs = {"base": folder / "tiny", "personas": folder / "pools", "benchmark/sums": folder / "sums"}
    with tempfile.TemporaryDirectory() as name:
        parts = StageContext(Path(name), {}, {}, lambda *_: None, 1, lambda _: engine)
        sweep.run(config, inputs, Path(name) / "out", context=parts)
