"""Seconds and bytes of training and sampling on one kind of device, by rules of thumb."""

import math
import re
from dataclasses import dataclass

from permix import processes, run_record
from permix.errors import BadInput, nearest
from permix.pipeline.estimate.shapes import Shape
from permix.training.settings import TrainerConfig

GIB = 2**30
LONGEST = 3  # length of the longest answer of a batch in mean lengths; transformers samples until it is done
TRAINING = 0.3  # reached share of a GPU's FLOP/s in training
DECODING = 0.5  # reached share of any device's FLOP/s and bytes/s in decoding
LAUNCH = 1e-3  # seconds per layer besides its arithmetic, in transformers
RESERVED = 1.5 * GIB  # memory of a GPU for CUDA and libraries


@dataclass(frozen=True)
class Device:
    """One GPU (or a whole CPU): GiB, dense 16-bit FLOP/s, memory bytes/s.

    `flops32` are the FLOP/s in float32 (0: as in 16 bits), `reached` the share of FLOP/s that training and prompts get.
    """

    title: str
    memory: float
    flops: float
    bandwidth: float
    flops32: float = 0.0
    reached: float = TRAINING

    def speed(self, dtype: str) -> float:
        """Return the FLOP/s of matrices in this precision."""
        return self.flops32 or self.flops if dtype == "float32" else self.flops


DEVICES = {
    "cpu": Device("CPU", math.inf, 2e11, 2e10),  # a laptop's; `this_cpu` knows more of this machine's
    "t4": Device("T4", 16, 65e12, 320e9),
    "l4": Device("L4", 24, 121e12, 300e9),
    "a10g": Device("A10G", 24, 70e12, 600e9),
    "l40s": Device("L40S", 48, 362e12, 864e9),
    "a5000": Device("RTX A5000", 24, 111e12, 768e9),
    "4090": Device("RTX 4090", 24, 165e12, 1008e9),
    "a100": Device("A100", 80, 312e12, 2039e9),
    "h100": Device("H100", 80, 989e12, 3350e9),
    "h200": Device("H200", 141, 989e12, 4800e9),
}
"""From the makers' data sheets."""
CORE_FLOPS = {"amx_bf16": 9e11, "avx512_bf16": 4.5e11}
"""FLOP/s of one core in bfloat16 by its instructions: measured for avx512_bf16 (Zen 4), assumed for AMX."""
CORE_FLOPS32 = 7e10
"""FLOP/s of one core in float32, and in bfloat16 without instructions for it: measured with AVX-512 (Zen 4)."""


@dataclass(frozen=True)
class Machine:
    """The machine of a recipe: `gpus` devices of one kind."""

    device: Device
    gpus: int = 1


def device_of(name: str) -> Device | None:
    """Return the device that nvidia-smi calls `name` ("NVIDIA A100-SXM4-80GB"); None if the table lacks it."""
    words = re.split(r"[\s-]+", name.lower())
    return next((device for kind, device in DEVICES.items() if kind in words), None)


def this_cpu() -> Device:
    """Return the processor of this machine, by its cores and instructions."""
    cores, flags = processes.cores(), run_record.cpu_flags()
    bfloat16 = next((flops for name, flops in CORE_FLOPS.items() if name in flags), CORE_FLOPS32)
    bandwidth = min(2.4e10 * cores, 4e10)  # one core of a Zen 4 reads 24 GB/s, two 34
    memory = float(run_record.hardware()["memory_gb"])
    return Device(f"CPU, {cores} cores", memory, cores * bfloat16, bandwidth, cores * CORE_FLOPS32, 0.7)


def machine(kind: str | None, gpus: int = 1) -> Machine:
    """Return a machine with `gpus` devices of this kind; None stands for this machine's GPU, or its CPU."""
    if kind is None:
        names = run_record.hardware()["gpu"]
        device = device_of(names[0]) if names else this_cpu()
        if device is None:
            kinds = ", ".join(DEVICES)
            raise BadInput(f"This machine's {names[0]} is not in permix's table: say --gpu, one of {kinds}.")
        return Machine(device, gpus)
    if kind not in DEVICES:
        raise BadInput(f"There is no GPU {kind!r} in permix's table: {nearest(kind, DEVICES)}")
    return Machine(DEVICES[kind], gpus)


def sampling_seconds(
    shape: Shape,
    machine: Machine,
    completions: int,
    prompt: int,
    mean: int,
    limit: int,
    *,
    batch: int,
    dtype: str,
    vllm: bool,
    devices: int = 1,
) -> float:
    """Return the seconds for `completions` over all replicas; prompts are read at once, answers token by token.

    transformers samples until the longest answer of a batch is done; lines that are done cost nothing more.
    """
    device, replicas = machine.device, max(1, machine.gpus // devices)
    flops, bandwidth = device.speed(dtype) * devices, device.bandwidth * devices
    share = completions / replicas
    rows = min(256 if vllm else batch, max(1.0, share))
    steps = share * mean / rows if vllm else math.ceil(share / rows) * min(limit, LONGEST * mean)
    read = steps * model_weights(shape, dtype) + share * mean * (prompt + mean) * shape.cache_bytes
    decoding = max(read / bandwidth, 2 * shape.active_parameters * share * mean / flops) / DECODING
    prefill = 2 * shape.active_parameters * share * prompt / (flops * device.reached)
    return decoding + (0 if vllm else steps * shape.layers * LAUNCH) + prefill


def training_seconds(
    config: TrainerConfig, shape: Shape, tokens: float, steps: int, machine: Machine, reference: int = 0
) -> float:
    """Return the seconds for `tokens` in `steps`; `reference` has the FLOPs per token and parameter of a KL term."""
    per_token = (4 + (2 if config.gradient_checkpointing else 0) + reference) * shape.active_parameters
    passes = math.ceil(config.gradient_accumulation_steps / machine.gpus)
    launches = steps * passes * 4 * shape.layers * LAUNCH
    flops = machine.device.speed("bfloat16" if config.bf16 or config.fp16 else "float32") * machine.device.reached
    return tokens * per_token / (flops * machine.gpus) + launches


def training_weights(config: TrainerConfig, shape: Shape) -> float:
    """Return the bytes of the frozen base."""
    if config.load_in_4bit:
        return model_weights(shape, "nf4-nested" if config.use_bnb_nested_quant else "nf4")
    return model_weights(shape, "bfloat16" if config.bf16 or config.fp16 else "float32")


def model_weights(shape: Shape, dtype: str) -> float:
    """Return the bytes of a model; in 4 bits, 64 weights share a scale (8 bits if nested), all else has 16 bits.

    Source: arXiv 2305.14314.
    """
    if dtype.startswith("nf4"):
        scales = (1 + 4 / 256) / 64 if dtype == "nf4-nested" else 4 / 64
        return shape.linear_parameters * (0.5 + scales) + (shape.parameters - shape.linear_parameters) * 2
    return float(shape.parameters * (4 if dtype == "float32" else 2))


def training_memory(config: TrainerConfig, shape: Shape, length: int, logits: int) -> float:
    """Return the bytes per device; `length` is that of the longest row, `logits` the tokens of a batch with a loss.

    A layer keeps 34 bytes for each token and hidden unit (Korthikanti et al. 2022, arXiv 2205.05198, attention without
    a stored matrix); with checkpointing only one layer does, and the others keep their input. Logits take 16 bits, 32
    for the softmax, and a gradient.
    """
    adapter = shape.lora_parameters(config.lora_r, config.lora_target_modules)
    optimizer = 2 if "8bit" in config.optim else 8
    tokens = config.per_device_train_batch_size * length
    bytes_per_unit = (2 * shape.layers + 34) if config.gradient_checkpointing else 34 * shape.layers
    activations = tokens * shape.hidden * bytes_per_unit * (1 if config.bf16 or config.fp16 else 2)
    return (
        training_weights(config, shape) + adapter * (8 + optimizer) + activations + logits * shape.vocab * 8 + RESERVED
    )
