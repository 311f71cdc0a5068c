"""permix doctor: what this machine can do, and what to do about what it can't."""

import math
import os
import platform
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import metadata, util
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from permix import files, run_record
from permix.commands import options
from permix.errors import BadInput, PermixError
from permix.experiment import models
from permix.experiment.recipe import Recipe
from permix.pipeline import plan, recipes
from permix.pipeline.plan import Step

MARKS = {"ok": "ok", "note": "-", "missing": "MISSING"}
EXPLANATION = """
What looks odd and is not:
- GRPO's loss begins at 0 and stays near it. The advantages of a group sum to 0 and the first ratio is 1: watch reward.
- clip_ratio is 0: with one update per batch of rollouts the policy is the one that sampled them; nothing is clipped.
- reward_std is 0 in many groups (frac_reward_zero_std): all 8 completions right, or all wrong. Such a group teaches
  nothing. Normal up to a half; near 1, the problems are too easy or too hard for the base, or no answer is understood.
- There is no kl in the log, or it is 0: beta is 0 (no reference model), or the adapter changes nothing yet.
- completions/clipped_ratio near 1: the completions are cut before the answer. Raise max_completion_length.
- The reward falls when personas are mixed in: some personas answer worse, and that is what is trained on.
- "Today Date: 26 Jul 2024" stands in Llama's prompts: permix pins the date, or results would change from day to day.
- PSS is below 1 although personas change nothing: sampling noise alone gives that; pss_null says how much.
- A benchmark's accuracy differs from the model card's: other prompt, sampling and answer rule. Compare within a table.
"""


@dataclass(frozen=True)
class Finding:
    """One line: ok, a note, or missing (the recipe needs it), and what to do about it; `what` may be several stages."""

    what: str
    found: str
    state: Literal["ok", "note", "missing"] = "ok"
    advice: str = ""


@dataclass(frozen=True)
class Gpu:
    """One GPU as nvidia-smi describes it; `memory` in GiB."""

    name: str
    memory: float
    capability: float


def doctor(
    recipe: options.Recipe = "toy",
    overrides: options.Set = [],  # noqa: B006 - typer reads the default, nobody changes it
    hub_url: options.HubUrl = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="Also say what looks odd in a training and is not.")
    ] = False,
) -> None:
    """Say what this machine can do, what a recipe needs of it, and what to do about what it lacks (exit code 1)."""
    loaded = recipes.load(recipe, overrides)
    steps = plan.build(loaded)
    gpus = find_gpus()
    findings = [*machine(gpus), *packages(gpus), sandbox(), *needs(steps, gpus), *disk(steps, hub_url)]
    findings += rights(loaded, steps, hub_url)
    width = max(len(f.what) for f in findings)
    for f in findings:
        print(f"{MARKS[f.state]:7}  {f.what:{width}}  {f.found}")
        if f.advice:
            print(f"{'':{width + 11}}-> {f.advice}")
    if explain:
        print(EXPLANATION.rstrip())
    if missing := dict.fromkeys(name for f in findings if f.state == "missing" for name in f.what.split(", ")):
        raise PermixError(f"This machine lacks what the recipe {loaded.name} needs: {', '.join(missing)}.")


def find_gpus() -> list[Gpu]:
    """The NVIDIA GPUs here, without loading torch; none where nvidia-smi does not say all of that."""
    rows = run_record.gpus("name", "memory.total", "compute_cap")
    try:
        return [Gpu(name, float(memory) / 1024, float(capability)) for name, memory, capability in rows]
    except ValueError:
        return []


def machine(gpus: Sequence[Gpu]) -> Iterator[Finding]:
    """Python, processor and GPUs."""
    here = run_record.hardware()
    yield Finding("python", f"{platform.python_version()}, {platform.system()} {platform.machine()}")
    yield Finding("cpu", f"{here['cores']} cores, {here['memory_gb']} GB memory")
    if not gpus:
        advice = "recipes toy and laptop need none; `permix plan --estimate --gpu a5000` says what a GPU would take."
        yield Finding("gpu", "no NVIDIA GPU", "note", advice)
    for gpu in gpus:
        can = "bfloat16" if gpu.capability >= 8 else "no bfloat16: use fp16 = true, as recipe t4 does"
        yield Finding("gpu", f"{gpu.name}, {gpu.memory:.0f} GB, {can}", "ok" if gpu.capability >= 8 else "note")


def packages(gpus: Sequence[Gpu]) -> Iterator[Finding]:
    """What is installed beside the core, and whether torch can see the GPU."""
    for name, extra, what in (
        ("torch", "train", "training and sampling"),
        ("trl", "train", "training"),
        ("bitsandbytes", "train", "QLoRA (load_in_4bit)"),
        ("vllm", "vllm", "fast sweeps on a GPU"),
    ):
        version = _version(name)
        if not version:
            yield Finding(name, f"not installed ({what})", "note", f"pip install 'permix[{extra}]'")
        elif name == "torch" and gpus and version.endswith("+cpu"):
            yield Finding(name, f"{version} cannot use the GPU", "missing", "install torch without +cpu.")
        else:
            yield Finding(name, version)


def sandbox() -> Finding:
    """Whether programs that a model wrote can be run safely here."""
    from permix.sandbox import choose

    try:
        return Finding("sandbox", choose())
    except PermixError as error:
        return Finding("sandbox", "none: benchmarks that run programs cannot be measured", "note", str(error))


def needs(steps: Sequence[Step], gpus: Sequence[Gpu]) -> Iterator[Finding]:
    """What the recipe asks for and this machine lacks: packages, API keys, number formats, memory."""
    wanting: dict[tuple[str, str], list[str]] = {}  # stages by what they lack: one line for one lack
    for step in steps:
        for lack in (*_installed(step), *_formats(step, gpus)):
            wanting.setdefault(lack, []).append(step.stage.name)
    for (found, advice), names in wanting.items():
        yield Finding(", ".join(dict.fromkeys(names)), found, "missing", advice)
    if not wanting:
        yield Finding("recipe", "packages and keys are there")
    yield from _size(steps, gpus)


def _installed(step: Step) -> Iterator[tuple[str, str]]:
    """What is not there, and what to do; bitsandbytes and trackers belong to settings that not every stage has."""
    config: Any = step.config
    try:
        models.keys(config)
    except BadInput as error:
        key, _, advice = str(error).rpartition(": ")
        yield key, advice
    for name in step.missing_packages():
        yield f"{name} is not installed here", f"pip install 'permix[{'vllm' if name == 'vllm' else 'train'}]'"
    asks_bits = {
        "load_in_4bit": getattr(config, "load_in_4bit", False),
        "dtype nf4": str(getattr(config, "dtype", "")).startswith("nf4"),
        "an 8-bit optim": str(getattr(config, "optim", "")).endswith("_8bit"),
    }
    for what in (what for what, asked in asks_bits.items() if asked and not _version("bitsandbytes")):
        yield f"{what} needs bitsandbytes", "pip install 'permix[train]'"
    reports = getattr(config, "report_to", "none")
    if reports != "none" and not _version(reports):
        yield f"report_to asks for {reports}", f"pip install {reports}"


def _formats(step: Step, gpus: Sequence[Gpu]) -> Iterator[tuple[str, str]]:
    config: Any = step.config
    wants_bf16 = getattr(config, "bf16", False) or getattr(config, "dtype", "") == "bfloat16"
    if wants_bf16 and any(gpu.capability < 8 for gpu in gpus):
        yield "asks for bfloat16", "set fp16 (training) and dtype float16 (sweep)."


def _size(steps: Sequence[Step], gpus: Sequence[Gpu]) -> Iterator[Finding]:
    """Memory and time by the estimate, where the sizes of all models are known without a Hub."""
    from permix.pipeline.estimate import costs, estimate
    from permix.pipeline.estimate.shapes import KNOWN

    if any(repo.partition("@")[0] not in KNOWN for repo in _models(steps)):
        return
    device = costs.device_of(gpus[0].name) if gpus else None
    on = costs.Machine(device or costs.DEVICES["cpu"], len(gpus) or 1)
    found = estimate.amounts(steps, on, lambda repo: KNOWN[repo.partition("@")[0]])
    memory = max(amount.memory for amount in found) / costs.GIB
    have = min(gpu.memory for gpu in gpus) if gpus else float(run_record.hardware()["memory_gb"])
    what = f"about {memory:.0f} of {have:.0f} GB" + (" of a GPU" if gpus else "")
    fits = Finding("memory", what) if memory <= have else None
    yield fits or Finding("memory", what, "note", "`permix plan --estimate` says which stage, and what to lower.")
    if not gpus and (hours := sum(amount.seconds for amount in found) / 3600) > 24:
        yield Finding("time", f"about {hours:,.0f} hours without a GPU", "note", "take a GPU, or recipe toy or laptop.")


def disk(steps: Sequence[Step], url: str | None) -> Iterator[Finding]:
    """Room for what is made, and for the models that are downloaded: into HF_HOME from huggingface.co alone."""
    from permix.pipeline.estimate.shapes import KNOWN

    shapes = [KNOWN[name] for repo in _models(steps) if (name := repo.partition("@")[0]) in KNOWN]
    models = sum(2 * shape.parameters for shape in shapes) / 1e9
    places = {"PERMIX_HOME": files.home()}
    if url == "https://huggingface.co":
        places["HF_HOME"] = Path(os.environ.get("HF_HOME") or "~/.cache/huggingface").expanduser().absolute()
    for name, path in places.items():
        there = next(p for p in (path, *path.parents) if p.exists())
        free = shutil.disk_usage(there).free / 1e9
        wanted = 2 + (models if name == list(places)[-1] else 0)
        found = f"{free:,.0f} GB free, the recipe wants about {math.ceil(wanted)}"
        enough = Finding(name, found) if free >= wanted else None
        yield enough or Finding(name, found, "missing", f"make room, or set {name} to a folder on another disk.")


def rights(recipe: Recipe, steps: Sequence[Step], url: str | None) -> Iterator[Finding]:
    """Whether the token may write, and the recipe's inputs can be read; the network is asked with --hub alone."""
    if url is None:
        advice = "to publish for all: --hub https://huggingface.co asks that Hub about your token and the bases."
        yield Finding("hub", "the embedded one, which needs no account", "ok", advice)
        return
    from permix.publishing import hub as hubs

    place = hubs.connect(url)
    try:
        place.check_write(recipe.org)
        yield Finding("token", f"may write to {recipe.org} on {place.endpoint}")
    except PermixError as error:
        yield Finding("token", *_split(error))
    made = {step.target for step in steps}
    for repo in dict.fromkeys(repo for step in steps for repo in step.needs.values() if repo not in made):
        try:
            place.check_read(repo)
            yield Finding("input", f"{repo} can be read")
        except PermixError as error:
            yield Finding("input", *_split(error))


def _split(error: PermixError) -> tuple[str, Literal["missing"], str]:
    sentence, _, advice = str(error).partition(": ")
    return sentence, "missing", advice


def _models(steps: Sequence[Step]) -> list[str]:
    """The models that the recipe downloads."""
    made = {step.target for step in steps}
    names = (repo for step in steps for repo in step.needs.values() if repo not in made)
    return [repo for repo in dict.fromkeys(names) if not repo.startswith(("datasets/", "spaces/"))]


def _version(name: str) -> str:
    """The installed version of a package; "" where it is not there."""
    if util.find_spec(name) is None:
        return ""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:  # vLLM's builds for CPUs go by another name
        return "installed"
