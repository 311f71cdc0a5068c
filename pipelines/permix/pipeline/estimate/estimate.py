"""Estimate the cost of a recipe from its settings and the shapes of its models; no weights are loaded or downloaded.

The rules of thumb aim at a factor of two; `ASSUMPTIONS` prints them.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from permix.benchmarks import Source, sizes
from permix.experiment.models import Model
from permix.pipeline.estimate.costs import (
    LAUNCH,
    LONGEST,
    RESERVED,
    Machine,
    model_weights,
    sampling_seconds,
    training_memory,
    training_seconds,
)
from permix.pipeline.estimate.shapes import Shape
from permix.pipeline.plan import Step
from permix.stages import base, mixtures, sft, sweep
from permix.stages.shared.written_targets import WriterConfig
from permix.training.grpo_settings import Config as GrpoConfig

ASSUMPTIONS = (
    "problems: known sizes of the data sets, 500 where unknown, 7473 for a training set; an answer's mean length: 220 "
    "tokens (gsm8k), 450 (math500), 1200 (aime2024), 30 (toy base) or 150 (arithmetic), else 400; a "
    "prompt: 160 tokens.",
    "training: 4 N FLOPs a token for LoRA, 2 N more with gradient checkpointing and 2 N with a KL term, at 30 % of a "
    "GPU's 16-bit peak or 70 % of what this machine's cores reach in matrix products.",
    "sampling: a step reads all weights once, at 50 % of the memory's bandwidth or of the FLOP/s; transformers "
    "samples until the longest answer of the batch (3 means) is done and spends another 1 ms a layer on a step; vLLM "
    "fills its batch up to 256.",
    "judges and question writers: 400 to 1500 tokens a reply, thinking included; retries are extra.",
    "memory: weights (NF4: 0.5 bytes and its constants), LoRA with gradients and Adam, activations and logits of the "
    "longest rows, key-value cache, 1.5 GB for CUDA.",
)


@dataclass(frozen=True)
class Amount:
    """The cost of one artifact: optimizer steps, completions, tokens, bytes per device, seconds, USD for APIs."""

    steps: int = 0
    completions: int = 0
    sampled: float = 0.0
    trained: float = 0.0
    memory: float = 0.0
    seconds: float = 0.0
    usd: float = 0.0

    def __add__(self, other: "Amount") -> "Amount":
        """Return the cost of both, one after the other: the larger memory and steps, the sum of all else."""
        sums = {f.name: getattr(self, f.name) + getattr(other, f.name) for f in fields(Amount)}
        return Amount(**sums | {"memory": max(self.memory, other.memory), "steps": max(self.steps, other.steps)})


@dataclass(frozen=True)
class Setting:
    """The machine, the shape of every model by its repository, and the Config of every mixture by its target.

    `toys` are the bases of the toy world.
    """

    machine: Machine
    toys: frozenset[str]
    shape_of: Callable[[str], Shape]
    mixtures: Mapping[str, mixtures.Config]

    def rows(self, mixture: str) -> int:
        """Return the number of rows of a mixture."""
        config = self.mixtures[mixture]
        return sizes.problems(config.task) * config.epochs

    def lengths(self, mixture: str, base: str) -> tuple[int, int]:
        """Return the mean tokens of a mixture's prompts and of the answers of `base`."""
        return sizes.lengths(self.mixtures[mixture].task, base in self.toys)


def amounts(steps: Sequence[Step], machine: Machine, shape_of: Callable[[str], Shape]) -> list[Amount]:
    """Return the amount of each step; `shape_of` returns the shape of a model that no step builds."""
    mixture_configs = {s.target: s.config for s in steps if isinstance(s.config, mixtures.Config)}
    toy_shapes = {s.target: toy_shape(s.config) for s in steps if isinstance(s.config, base.Config)}
    on = Setting(machine, frozenset(toy_shapes), lambda repo: toy_shapes.get(repo) or shape_of(repo), mixture_configs)
    return [_amount(step, on) for step in steps]


def _amount(step: Step, on: Setting) -> Amount:
    if step.stage.name in _BY_STAGE:
        return _BY_STAGE[step.stage.name](step.config, on)
    cost = step.stage.expected(step.config) if step.stage.expected else step.cost
    replies = cost.get("completions", 0) + cost.get("calls", 0)  # of the models, and of writers and judges
    return Amount(completions=int(replies), sampled=cost.get("tokens", 0), usd=cost.get("USD", 0))


def _sft(config: sft.Config, on: Setting) -> Amount:
    """TRL trains on the last, smaller batch of every epoch: ceil(rows / batch) steps."""
    shape, rows, batch = on.shape_of(config.base), on.rows(config.mixture), config.batch
    steps = config.max_steps if config.max_steps > 0 else math.ceil(math.ceil(rows / batch) * config.num_train_epochs)
    length = min(config.max_length, sum(on.lengths(config.mixture, config.base)))
    trained = min(rows * config.num_train_epochs, steps * batch) * length
    logits = config.per_device_train_batch_size * config.max_length
    memory = training_memory(config, shape, config.max_length, logits)
    seconds = training_seconds(config, shape, trained, steps, on.machine)
    return Amount(steps=steps, trained=trained, memory=memory, seconds=seconds)


def _grpo(config: GrpoConfig, on: Setting) -> Amount:
    """TRL drops the last, smaller batch: floor(rows / prompts of a step) steps."""
    shape, rows, batch = on.shape_of(config.base), on.rows(config.mixture), config.batch
    per_epoch = rows // max(1, batch // config.num_generations)
    steps = config.max_steps if config.max_steps > 0 else math.floor(per_epoch * config.num_train_epochs)
    completions, limit = steps * batch, config.max_completion_length
    per_device = math.ceil(batch / on.machine.gpus)  # completions sampled at once
    prompt, answer = on.lengths(config.mixture, config.base)
    mean = min(limit, answer)
    trained = completions * (prompt + mean)
    dtype = "bfloat16" if config.bf16 or config.fp16 or config.load_in_4bit else "float32"
    sampling = sampling_seconds(
        shape, on.machine, completions, prompt, mean, limit, batch=per_device, dtype=dtype, vllm=config.use_vllm
    )
    logits = config.per_device_train_batch_size * limit
    cache = per_device * (prompt + limit) * shape.cache_bytes
    reference = 2 if config.beta else 0
    return Amount(
        steps=steps,
        completions=completions,
        sampled=completions * mean,
        trained=trained,
        memory=training_memory(config, shape, prompt + limit, logits) + cache,
        seconds=sampling + training_seconds(config, shape, trained, steps, on.machine, reference),
    )


def _sweep(config: sweep.Config, on: Setting) -> Amount:
    """Count all personas x problems x runs of each benchmark."""
    total = Amount()
    for source in config.benchmarks:
        completions = config.completions_on(sizes.problems(source, config.limit))
        if config.model:
            total += _served(config.model, config.max_tokens, completions, source)
        else:
            total += _sampled(config, on.shape_of(config.base), completions, source, on.machine)
    return total


def _written(config: WriterConfig, completions: int, on: Setting) -> Amount:
    """Return the amount for the toy's generator, a model on this machine, or a served model."""
    if config.writer is None:
        return Amount(completions=completions)
    if config.writer.repo:
        return _sampled(config, on.shape_of(config.writer.repo), completions, config.task, on.machine)
    return _served(config.writer, config.max_tokens, completions, config.task)


def _served(model: Model, max_tokens: int, completions: int, source: Source) -> Amount:
    """Return the amount for a served model: USD, and no local compute time."""
    prompt, answer = sizes.lengths(source)
    mean = min(max_tokens, answer)
    usd = model.price(completions * prompt, completions * mean)
    return Amount(completions=completions, sampled=completions * mean, usd=usd)


def _base(config: base.Config, on: Setting) -> Amount:
    """All weights of the toy base are trained: 6 N FLOPs a token."""
    shape = toy_shape(config)
    trained = base.estimate(config)["tokens"]
    flops = on.machine.device.speed("float32") * on.machine.device.reached
    seconds = 6 * shape.parameters * trained / flops + config.steps * shape.layers * LAUNCH
    return Amount(steps=config.steps, trained=trained, memory=20.0 * shape.parameters, seconds=seconds)


_BY_STAGE: dict[str, Callable[[Any, Setting], Amount]] = {
    "base": _base,
    "rewrites": lambda config, on: _written(config, sizes.problems(config.task), on),  # without retries
    "teachers": lambda config, on: _written(config, 2 * sizes.problems(config.task), on),  # with and without personas
    "sft": _sft,
    "grpo": _grpo,
    "sweep": _sweep,
}


def toy_shape(config: base.Config) -> Shape:
    """Return the shape of the toy base with these settings."""
    head = config.hidden_size // config.heads
    return Shape(
        config.layers, config.hidden_size, config.intermediate_size, config.heads, config.heads, head, 1200, True
    )


def _sampled(
    config: sweep.Config | WriterConfig, shape: Shape, completions: int, source: Source, machine: Machine
) -> Amount:
    """Return the amount for sampling on this machine, with the engine of the stage's Config."""
    weights = model_weights(shape, config.dtype)
    prompt, answer = sizes.lengths(source, getattr(config, "toy", False))
    mean = min(config.max_tokens, answer)
    vllm, devices = config.backend == "vllm", config.tensor_parallel
    engine: dict[str, Any] = {"batch": config.batch_size, "dtype": config.dtype, "vllm": vllm, "devices": devices}
    seconds = sampling_seconds(shape, machine, completions, prompt, mean, config.max_tokens, **engine)
    rows = 16 if vllm else min(config.batch_size, completions)  # vLLM needs little memory and queues further rows
    cache = rows * (prompt + min(config.max_tokens, LONGEST * mean)) * shape.cache_bytes
    logits = 0 if vllm else rows * shape.vocab * (8 if config.dtype == "float32" else 4)  # those of two steps
    memory = (weights + cache) / devices + logits + RESERVED
    return Amount(completions=completions, sampled=completions * mean, memory=memory, seconds=seconds)
