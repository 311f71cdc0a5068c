"""The accelerate config file by which several processes share a training: DDP, or FSDP where the recipe names one."""

import importlib.util
from pathlib import Path
from typing import Any

import yaml

from permix.errors import BadInput, nearest
from permix.training.settings import TrainerConfig

DDP: dict[str, Any] = {"compute_environment": "LOCAL_MACHINE", "distributed_type": "MULTI_GPU"}
KINDS = ("MULTI_GPU", "FSDP")


def launch_settings(config: TrainerConfig, processes: int) -> dict[str, Any]:
    """What `accelerate launch` is told: the file's keys, but processes and number formats are those of permix."""
    own = {"num_processes": processes, "num_machines": 1, "mixed_precision": "no"}  # TRL's bf16 and fp16 set it later
    return (read(config) if config.accelerate_config else DDP) | own


def read(config: TrainerConfig) -> dict[str, Any]:
    """The content of `accelerate_config`: a name is one of TRL's own files (as in `trl grpo`), else it is a path."""
    name, where = config.accelerate_config, f"[{config.TABLE}] accelerate_config"
    shipped = _shipped()
    path = Path(name) if name.endswith((".yaml", ".yml", ".json")) else shipped.get(name)
    if path is None:
        raise BadInput(f"{where} is {name!r}: {nearest(name, shipped)} A file of your own ends in .yaml or .json.")
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise BadInput(f"{where} is {name!r}, which cannot be read ({str(error).splitlines()[0]}).") from None
    kind = found.get("distributed_type") if isinstance(found, dict) else None
    if kind not in KINDS:
        raise BadInput(f"{where} is {name!r}, whose distributed_type is {kind}: it should be {' or '.join(KINDS)}.")
    return dict(found)


def check(config: TrainerConfig, gpus: int) -> None:
    """Raise BadInput where the file is none, or asks for sharding (FSDP) that could not be."""
    if not config.accelerate_config or read(config)["distributed_type"] != "FSDP":
        return
    where = f"[{config.TABLE}] accelerate_config is {config.accelerate_config!r}, which is FSDP"
    if config.load_in_4bit:
        raise BadInput(f"{where}: it cannot shard weights in 4 bits; set load_in_4bit = false, or leave it away (DDP).")
    if getattr(config, "probe_steps", 0):
        raise BadInput(f"{where}: probes need the whole model in each process; set probe_steps = 0.")
    if not gpus:
        raise BadInput(f"{where}: accelerate shards over GPUs only, and there are none; leave it away (DDP).")


def _shipped() -> dict[str, Path]:
    """The accelerate files that TRL brings, without loading it."""
    trl = importlib.util.find_spec("trl")
    folders = trl.submodule_search_locations if trl and trl.submodule_search_locations else []
    paths = [path for folder in folders for path in (Path(folder) / "accelerate_configs").glob("*.yaml")]
    return {path.stem: path for path in sorted(paths)}
