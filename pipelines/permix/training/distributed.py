"""The accelerate configuration of a training in several processes: DDP, or FSDP if the recipe names it."""

import importlib.util
from pathlib import Path
from typing import Any

import yaml

from permix import files
from permix.errors import BadInput, nearest
from permix.training.settings import TrainerConfig

DDP: dict[str, Any] = {"compute_environment": "LOCAL_MACHINE", "distributed_type": "MULTI_GPU"}
KINDS = ("MULTI_GPU", "FSDP")


def launch_settings(config: TrainerConfig, processes: int) -> dict[str, Any]:
    """Return the keys for `accelerate launch`: those of the file, with permix's processes and number formats."""
    own = {"num_processes": processes, "num_machines": 1, "mixed_precision": "no"}  # TRL's bf16 and fp16 set it later
    return (read(config) if config.accelerate_config else DDP) | own


def read(config: TrainerConfig) -> dict[str, Any]:
    """Return the content of `accelerate_config`: the path of a file, or the name of one of TRL's (as in `trl grpo`)."""
    name, where = config.accelerate_config, f"[{config.TABLE}] accelerate_config"
    shipped = _shipped()
    path = Path(name) if name.endswith((".yaml", ".yml", ".json")) else shipped.get(name)
    if path is None:
        raise BadInput(f"{where} is {name!r}: {nearest(name, shipped)} A file of your own ends in .yaml or .json.")
    try:
        keys = yaml.safe_load(files.read_text(path))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise BadInput(f"{where} is {name!r}, which cannot be read ({str(error).splitlines()[0]}).") from None
    kind = keys.get("distributed_type") if isinstance(keys, dict) else None
    if kind not in KINDS:
        raise BadInput(f"{where} is {name!r}, whose distributed_type is {kind}: it should be {' or '.join(KINDS)}.")
    return dict(keys)


def check(config: TrainerConfig, gpus: int) -> None:
    """Raise BadInput for a file that cannot be used, and for FSDP with settings that cannot be sharded."""
    if not config.accelerate_config or read(config)["distributed_type"] != "FSDP":
        return
    where = f"[{config.TABLE}] accelerate_config is {config.accelerate_config!r}, which is FSDP"
    if config.load_in_4bit:
        raise BadInput(f"{where}: it cannot shard weights in 4 bits; set load_in_4bit = false, or omit it (DDP).")
    if getattr(config, "probe_steps", 0):
        raise BadInput(f"{where}: probes need the whole model in each process; set probe_steps = 0.")
    if not gpus:
        raise BadInput(f"{where}: accelerate shards over GPUs only, and this machine has none; omit it (DDP).")


def _shipped() -> dict[str, Path]:
    """Return {name: path} of TRL's accelerate files, without importing TRL."""
    trl = importlib.util.find_spec("trl")
    folders = trl.submodule_search_locations if trl and trl.submodule_search_locations else []
    paths = [path for folder in folders for path in (Path(folder) / "accelerate_configs").glob("*.yaml")]
    return {path.stem: path for path in sorted(paths)}
