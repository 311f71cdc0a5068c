"""The abilities of this machine, and the needs of a recipe that it does not meet."""

import math
import os
import platform
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import metadata, util
from pathlib import Path
from typing import Any, Literal

from permix import files, run_record
from permix.errors import BadInput, PermixError
from permix.experiment import models
from permix.pipeline.plan import Step
from permix.publishing.hub import Hub


@dataclass(frozen=True)
class Finding:
    """One line: ok, a note, or missing (the recipe needs it), with advice; `subject` may list several stages."""

    subject: str
    description: str
    state: Literal["ok", "note", "missing"] = "ok"
    advice: str = ""


@dataclass(frozen=True)
class Gpu:
    """One GPU as nvidia-smi describes it; `memory` in GiB."""

    name: str
    memory: float
    capability: float


def find_gpus() -> list[Gpu]:
    """Return the NVIDIA GPUs, without loading torch; none where nvidia-smi does not describe them."""
    rows = run_record.gpus("name", "memory.total", "compute_cap")
    try:
        return [Gpu(name, float(memory) / 1024, float(capability)) for name, memory, capability in rows]
    except ValueError:
        return []


def hardware(gpus: Sequence[Gpu]) -> Iterator[Finding]:
    """Yield Python, processor and GPUs."""
    machine = run_record.hardware()
    yield Finding("python", f"{platform.python_version()}, {platform.system()} {platform.machine()}")
    size = f"{machine['cores']} cores, {machine['memory_gb']} GB memory"
    if bfloat16 := [flag for flag in ("amx_bf16", "avx512_bf16", "FEAT_BF16") if flag in run_record.cpu_flags()]:
        yield Finding("cpu", f"{size}, bfloat16 by {bfloat16[0]}")
    else:
        advice = "models published in bfloat16 run about five times as fast on one that has (AMX, avx512_bf16)."
        yield Finding("cpu", f"{size}, no instructions for bfloat16", "note", advice)
    if not gpus:
        advice = "toy, laptop and small-models need none; `permix plan --estimate --gpu a5000` estimates for one."
        yield Finding("gpu", "no NVIDIA GPU", "note", advice)
    for gpu in gpus:
        dtype = "bfloat16" if gpu.capability >= 8 else "no bfloat16: use fp16 = true, as recipe t4 does"
        yield Finding("gpu", f"{gpu.name}, {gpu.memory:.0f} GB, {dtype}", "ok" if gpu.capability >= 8 else "note")


def packages(gpus: Sequence[Gpu]) -> Iterator[Finding]:
    """Yield the optional packages, and whether torch can use the GPU."""
    for name, extra, purpose in (
        ("torch", "train", "training and sampling"),
        ("trl", "train", "training"),
        ("bitsandbytes", "train", "QLoRA (load_in_4bit)"),
        ("vllm", "vllm", "fast sweeps on a GPU"),
    ):
        version = _version(name)
        if not version:
            yield Finding(name, f"not installed ({purpose})", "note", f"pip install 'permix[{extra}]'")
        elif name == "torch" and gpus and version.endswith("+cpu"):
            yield Finding(name, f"{version} cannot use the GPU", "missing", "install torch without +cpu.")
        else:
            yield Finding(name, version)


def sandbox() -> Finding:
    """Return whether programs that a model wrote can be run safely."""
    from permix.sandbox import choose

    try:
        return Finding("sandbox", choose())
    except PermixError as error:
        return Finding("sandbox", "none: benchmarks that run programs cannot be measured", "note", str(error))


def needs(steps: Sequence[Step], gpus: Sequence[Gpu]) -> Iterator[Finding]:
    """Yield the packages, API keys, number formats and memory that the recipe needs and this machine lacks."""
    stages: dict[tuple[str, str], list[str]] = {}  # by what they lack: one line for one lack
    for step in steps:
        for lack in (*_missing(step), *_formats(step, gpus)):
            stages.setdefault(lack, []).append(step.stage.name)
    for (description, advice), names in stages.items():
        yield Finding(", ".join(dict.fromkeys(names)), description, "missing", advice)
    if not stages:
        yield Finding("recipe", "packages and keys are there")
    yield from _size(steps, gpus)


def _missing(step: Step) -> Iterator[tuple[str, str]]:
    """Yield (package or key, advice); bitsandbytes and trackers belong to settings that few stages have."""
    config: Any = step.config
    try:
        models.keys(config)
    except BadInput as error:
        key, _, advice = str(error).rpartition(": ")
        yield key, advice
    for name in step.missing_packages():
        yield f"{name} is not installed here", f"pip install 'permix[{'vllm' if name == 'vllm' else 'train'}]'"
    settings = {
        "load_in_4bit": getattr(config, "load_in_4bit", False),
        "dtype nf4": str(getattr(config, "dtype", "")).startswith("nf4"),
        "an 8-bit optim": str(getattr(config, "optim", "")).endswith("_8bit"),
    }
    for setting in (setting for setting, used in settings.items() if used and not _version("bitsandbytes")):
        yield f"{setting} needs bitsandbytes", "pip install 'permix[train]'"
    tracker = getattr(config, "report_to", "none")
    if tracker != "none" and not _version(tracker):
        yield f"report_to asks for {tracker}", f"pip install {tracker}"


def _formats(step: Step, gpus: Sequence[Gpu]) -> Iterator[tuple[str, str]]:
    config: Any = step.config
    bf16 = getattr(config, "bf16", False) or getattr(config, "dtype", "") == "bfloat16"
    if bf16 and any(gpu.capability < 8 for gpu in gpus):
        yield "asks for bfloat16", "set fp16 (training) and dtype float16 (sweep)."


def _size(steps: Sequence[Step], gpus: Sequence[Gpu]) -> Iterator[Finding]:
    """Yield memory and time by the estimate, where the sizes of all models are known without a Hub."""
    from permix.pipeline.estimate import costs, estimate
    from permix.pipeline.estimate.shapes import KNOWN

    if any(repo.partition("@")[0] not in KNOWN for repo in _models(steps)):
        return
    device = costs.device_of(gpus[0].name) if gpus else None
    machine = costs.Machine(device or costs.this_cpu(), len(gpus) or 1)
    amounts = estimate.amounts(steps, machine, lambda repo: KNOWN[repo.partition("@")[0]])
    memory = max(amount.memory for amount in amounts) / costs.GIB
    available = min(gpu.memory for gpu in gpus) if gpus else float(run_record.hardware()["memory_gb"])
    text = f"about {memory:.0f} of {available:.0f} GB" + (" of a GPU" if gpus else "")
    fits = Finding("memory", text) if memory <= available else None
    yield fits or Finding("memory", text, "note", "`permix plan --estimate` names the stage, and what to lower.")
    if not gpus and (hours := sum(amount.seconds for amount in amounts) / 3600) > 24:
        yield Finding("time", f"about {hours:,.0f} hours without a GPU", "note", "use a GPU, or recipe toy or laptop.")


def disk(steps: Sequence[Step], hub_url: str | None) -> Iterator[Finding]:
    """Yield the room for artifacts and downloaded models; only huggingface.co's models go into HF_HOME."""
    from permix.pipeline.estimate.shapes import KNOWN

    shapes = [KNOWN[name] for repo in _models(steps) if (name := repo.partition("@")[0]) in KNOWN]
    model_gb = sum(2 * shape.parameters for shape in shapes) / 1e9
    folders = {"PERMIX_HOME": files.home()}
    if hub_url == "https://huggingface.co":
        folders["HF_HOME"] = Path(os.environ.get("HF_HOME") or "~/.cache/huggingface").expanduser().absolute()
    for name, path in folders.items():
        existing = next(p for p in (path, *path.parents) if p.exists())
        free = shutil.disk_usage(existing).free / 1e9
        needed = 2 + (model_gb if name == list(folders)[-1] else 0)
        text = f"{free:,.0f} GB free, the recipe needs about {math.ceil(needed)}"
        enough = Finding(name, text) if free >= needed else None
        yield enough or Finding(name, text, "missing", f"make room, or set {name} to a folder on another disk.")


def rights(org: str, steps: Sequence[Step], hub: Hub) -> Iterator[Finding]:
    """Yield whether the token may write to `org`, and whether it can read each foreign input."""
    try:
        hub.check_write(org)
        yield Finding("token", f"may write to {org} on {hub.endpoint}")
    except PermixError as error:
        yield _refusal("token", error)
    for repo in _foreign(steps):
        try:
            hub.check_read(repo)
            yield Finding("input", f"{repo} can be read")
        except PermixError as error:
            yield _refusal("input", error)


def _refusal(subject: str, error: PermixError) -> Finding:
    sentence, _, advice = str(error).partition(": ")
    return Finding(subject, sentence, "missing", advice)


def _foreign(steps: Sequence[Step]) -> list[str]:
    """Return the repositories that the steps need and do not build."""
    built = {step.target for step in steps}
    return list(dict.fromkeys(repo for step in steps for repo in step.needs.values() if repo not in built))


def _models(steps: Sequence[Step]) -> list[str]:
    """Return the models that the recipe downloads."""
    return [repo for repo in _foreign(steps) if not repo.startswith(("datasets/", "spaces/"))]


def _version(name: str) -> str:
    """Return the installed version of a package; "" where it is missing."""
    if util.find_spec(name) is None:
        return ""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:  # vLLM's builds for CPUs have another name
        return "installed"
