"""The provenance of a result: digests, the run record, and the environment that the record describes.

A *digest* names a result before it exists: (stage, version, config, content digests of the inputs).
A *content digest* names the content of an artifact: its files without README.md, run.json and `.eval_results/`.
"""

import hashlib
import json
import os
import platform
import re
import subprocess
import sys
import typing
from collections.abc import Callable, Mapping
from dataclasses import Field, field, fields, is_dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar

from permix import __version__, files, processes

RECORD = "run.json"
PACKAGES = (
    *("huggingface-hub", "datasets", "torch", "transformers", "trl", "peft", "accelerate", "bitsandbytes"),
    *("math-verify", "numpy", "pyarrow"),
)


class Config(Protocol):
    """A dataclass with a seed: the settings of an artifact."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    @property
    def seed(self) -> int:
        """The experiment's seed."""


ConfigT = TypeVar("ConfigT", bound=Config)


def setting(default: Any, help: str) -> Any:
    """A field with its help text."""
    return field(default=default, metadata={"help": help})


def unhashed(default: Any, help: str = "") -> Any:
    """A Config field that is not hashed, because it cannot change the result."""
    return field(default=default, metadata={"unhashed": True, "help": help})


def later(default: Any, help: str = "") -> Any:
    """A Config field that was added after results were published; hashed only if it differs from its default."""
    return field(default=default, metadata={"later": True, "help": help})


def canonical(value: Any, *, whole: bool = True) -> Any:
    """Convert dataclasses and tuples to JSON types.

    Unhashed fields are kept only at the top level and only if `whole`; nested ones are dropped, so that no record
    contains a model's URL or key name. Without `whole`, a `later` field with its default is dropped too.
    """
    if is_dataclass(value) and not isinstance(value, type):
        names = [f.name for f in fields(value) if whole or _is_hashed(f, getattr(value, f.name))]
        return {name: canonical(getattr(value, name), whole=False) for name in names}
    if isinstance(value, Mapping):
        return {str(k): canonical(v, whole=False) for k, v in value.items()}
    return [canonical(v, whole=False) for v in value] if isinstance(value, list | tuple) else value


def _is_hashed(field: Field[Any], value: Any) -> bool:
    return not (field.metadata.get("unhashed") or (field.metadata.get("later") and value == field.default))


def config_of(config: type[ConfigT], recorded: Mapping[str, Any]) -> ConfigT:
    """Build a Config from the `config` of a run record."""
    hints = typing.get_type_hints(config)
    values = {}
    for f in fields(config):
        if f.name in recorded:
            hint, value = hints[f.name], recorded[f.name]
            if isinstance(value, dict):  # a Model, whose server is not recorded
                continue
            inner = typing.get_args(hint)[0] if typing.get_origin(hint) is tuple else None
            if inner is not None:
                value = tuple(inner(**v) if isinstance(v, dict) else v for v in value)
            values[f.name] = value
    return config(**values)


def digest(stage: str, version: int, config: Config, inputs: Mapping[str, str]) -> str:
    """Return the sha256 of stage, version, hashed Config fields and content digests of the inputs."""
    text = json.dumps([stage, version, canonical(config, whole=False), dict(inputs)], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def is_content(path: str) -> bool:
    """Whether the content digest covers the file; a changed card or record makes nothing stale."""
    return path not in ("README.md", RECORD, ".gitattributes") and not path.startswith(".eval_results/")


def sha256(path: Path) -> str:
    """Return the sha256 of one file."""
    with path.open("rb") as source:
        return hashlib.file_digest(source, "sha256").hexdigest()


def describe_files(folder: Path, counts: Callable[[str], bool] = is_content) -> dict[str, dict[str, Any]]:
    """Return {path: size, sha256, sha1 (git blob id)} of every file below `folder` that counts as content."""
    described = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        name = path.relative_to(folder).as_posix()
        if counts(name):
            sha256, sha1 = hashlib.sha256(), hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
            with path.open("rb") as source:
                while block := source.read(1 << 20):
                    sha256.update(block)
                    sha1.update(block)
            described[name] = {"size": path.stat().st_size, "sha256": sha256.hexdigest(), "sha1": sha1.hexdigest()}
    return described


def content_digest(folder: Path, described: Mapping[str, Mapping[str, Any]] | None = None) -> str:
    """Return the sha256 of an artifact's content without `revision` of adapter_config.json: a commit has a time."""
    lines = {name: entry["sha256"] for name, entry in (described or describe_files(folder)).items()}
    if "adapter_config.json" in lines:
        config = json.loads(files.read_text(folder / "adapter_config.json"))
        lines["adapter_config.json"] = hashlib.sha256(
            json.dumps(config | {"revision": None}, sort_keys=True).encode()
        ).hexdigest()
    return hashlib.sha256(json.dumps(lines, sort_keys=True).encode()).hexdigest()


def record(
    *,
    stage: str,
    version: int,
    target: str,
    config: Config,
    digest: str,
    inputs: Mapping[str, Mapping[str, str]],
    facts: Mapping[str, Any],
    cost: Mapping[str, Any],
    described: Mapping[str, Mapping[str, Any]],
    content: str,
) -> dict[str, Any]:
    """Return the run record: everything needed to rebuild the artifact, and the mark of its completion."""
    return {
        "permix": __version__,
        "stage": stage,
        "stage_version": version,
        "target": target,
        "digest": digest,
        "content_digest": content,
        "config": canonical(config),
        "inputs": {name: dict(source) for name, source in inputs.items()},
        "seed": config.seed,
        "code": code(),
        "packages": packages(),
        "hardware": hardware(),
        "cost": dict(cost),
        "facts": canonical(facts),
        "files": {name: dict(entry) for name, entry in described.items()},
    }


def read_record(path: Path) -> dict[str, Any] | None:
    """Return the run record in a file; None for another program's run.json."""
    try:
        content = json.loads(path.read_bytes())
    except ValueError:
        return None
    return content if isinstance(content, dict) and content.keys() >= _ALWAYS else None


_ALWAYS = {"permix", "stage", "digest", "content_digest", "config", "inputs", "facts", "files", "release", "created"}


def code() -> dict[str, Any]:
    """Return permix's commit and whether files differ, None outside a checkout; a Job has both in PERMIX_CODE."""
    if original := os.environ.get("PERMIX_CODE"):
        return dict(json.loads(original))

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", "-C", str(files.ROOT), *arguments], capture_output=True, text=True, timeout=10, check=True
            )
        except (OSError, subprocess.SubprocessError):
            return None
        return done.stdout.strip()

    # A wheel in a virtual environment inside another repository is not a checkout of permix.
    if files.ROOT.name == "_data" or (commit := git("rev-parse", "HEAD")) is None:
        return {"commit": None, "dirty": None}
    status = git("status", "--porcelain", "--untracked-files=no")
    return {"commit": commit, "dirty": None if status is None else bool(status)}


def packages() -> dict[str, str]:
    """Return the versions of Python and of the installed PACKAGES, which results depend on."""
    versions = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


def hardware() -> dict[str, Any]:
    """Return processor, cores, memory and graphics cards of this machine."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    names = [name for name, *_ in gpus("name")]
    return {"cpu": _cpu(), "cores": processes.cores(), "memory_gb": round(memory, 1), "gpu": names}


def _cpu() -> str:
    return _cpuinfo("model name") or platform.processor() or platform.machine()


def cpu_flags() -> list[str]:
    """Return the names of the processor's instruction sets, as Linux or macOS spells them."""
    if sys.platform == "darwin":
        listing = subprocess.run(["sysctl", "hw.optional.arm"], capture_output=True, text=True, check=False).stdout
        return re.findall(r"hw\.optional\.arm\.(\w+): 1", listing)
    return _cpuinfo("flags").split()


def _cpuinfo(key: str) -> str:
    """Return the first processor's line in /proc/cpuinfo, "" without one."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    return next((line.partition(":")[2].strip() for line in lines if line.partition(":")[0].strip() == key), "")


def gpus(*properties: str) -> list[list[str]]:
    """Return these properties of each NVIDIA GPU, by nvidia-smi's names; [] if nvidia-smi fails."""
    query = ["nvidia-smi", f"--query-gpu={','.join(properties)}", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    return [[cell.strip() for cell in line.split(",")] for line in done.stdout.splitlines() if line.strip()]
