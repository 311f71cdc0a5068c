"""The settings that both trainers have: TRL's own keys; peft's and bitsandbytes' as TRL's ModelConfig names them."""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal, TypeVar

from permix.errors import BadInput
from permix.experiment.recipe import Recipe
from permix.paper import variants
from permix.stage import Parts, StageConfig, given, own_fields, unhashed

Trained = TypeVar("Trained", bound="TrainerConfig")
PACKAGES = ("torch", "transformers", "trl", "peft")
LORA = ("lora_r", "lora_alpha", "lora_dropout", "lora_target_modules")
QUANTISATION = ("load_in_4bit", "bnb_4bit_quant_type", "use_bnb_nested_quant")
LAUNCH = ("accelerate_config", "checkpoint_branch")
PROBES = ("probe_steps", "probe_problems")
LINEAR = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


@dataclass(frozen=True, kw_only=True)
class TrainerConfig(StageConfig):
    """What stages sft and grpo have in common; each adds its trainer's keys and its defaults.

    A step's batch is `per_device_train_batch_size` x `gradient_accumulation_steps`, however many processes share it: it
    decides the result, and --processes is no part of a recipe. What is accumulated is divided among the processes.

    learning_rate: the highest learning rate of the course
    lr_scheduler_type: how the learning rate falls, by transformers' names
    warmup_steps: steps until the learning rate is reached; below 1: a share of all steps
    weight_decay: weight decay of the optimizer
    max_grad_norm: cuts longer gradients to this length
    optim: the optimizer, by transformers' names
    adam_beta1: decay of the mean of the gradients
    adam_beta2: decay of the mean of their squares
    per_device_train_batch_size: rows (sft) or completions (grpo) that are computed at once
    gradient_accumulation_steps: how many of those make a step, in all processes together
    num_train_epochs: passes over the mixture
    max_steps: steps in all (-1: as the epochs say)
    bf16: loads the base and computes in bfloat16
    fp16: loads the base and computes in float16
    gradient_checkpointing: less memory for more time
    lora_r: rank of the adapter
    lora_alpha: the adapter is scaled by lora_alpha / lora_r
    lora_dropout: share of the adapter's inputs that are dropped in training
    lora_target_modules: the layers that are adapted
    load_in_4bit: QLoRA, the base in 4 bits; computes in bfloat16
    bnb_4bit_quant_type: of QLoRA, nf4 or fp4
    use_bnb_nested_quant: of QLoRA, the scales are quantised too
    logging_steps: steps from one entry of the log to the next
    save_steps: steps from one checkpoint to the next; does not change the result
    report_to: where the course is shown: none, or trackio (a dashboard); does not change the result
    accelerate_config: how several processes share the work: a name of TRL's configurations, or a file; does not change
        the result
    checkpoint_branch: whether checkpoints also lie on a branch of the Hub, and what becomes of it in the end; does not
        change the result
    """

    TABLE: ClassVar[str]
    """The recipe's table, for errors."""

    variant: str = given()
    base: str = given()
    base_slug: str = given()
    mixture: str = given()
    learning_rate: float = 2e-4
    lr_scheduler_type: str = "cosine"
    warmup_steps: float = 0.05
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0
    optim: str = "adamw_torch_fused"
    adam_beta1: float = 0.9
    adam_beta2: float = 0.999
    per_device_train_batch_size: int = 16
    gradient_accumulation_steps: int = 1
    num_train_epochs: float = 1.0
    max_steps: int = -1
    bf16: bool = False
    fp16: bool = False
    gradient_checkpointing: bool = False
    lora_r: int = 16
    lora_alpha: int = 32
    lora_dropout: float = 0.05
    lora_target_modules: tuple[str, ...] = LINEAR
    load_in_4bit: bool = False
    bnb_4bit_quant_type: Literal["nf4", "fp4"] = "nf4"
    use_bnb_nested_quant: bool = False
    logging_steps: int = 1
    save_steps: int = unhashed(10)
    report_to: Literal["none", "trackio"] = unhashed("none")
    accelerate_config: str = unhashed("")
    checkpoint_branch: Literal["none", "delete", "keep"] = unhashed("none")

    def __post_init__(self) -> None:
        """Refuse what no training can start with."""
        if self.max_steps < 1 and self.max_steps != -1:
            raise self.refused("max_steps", "at least 1, or -1 for all epochs")
        for name in ("learning_rate", "num_train_epochs"):
            if getattr(self, name) <= 0:
                raise self.refused(name, "above 0")
        self.refuse_below(1, "per_device_train_batch_size", "gradient_accumulation_steps", "lora_r", "logging_steps")
        if self.save_steps < 1 or self.save_steps % self.logging_steps:  # a log entry begun before a kill would be lost
            raise self.refused("save_steps", f"a multiple of logging_steps, {self.logging_steps}")
        if not 0 <= self.lora_dropout < 1:
            raise self.refused("lora_dropout", "from 0 to below 1")
        if self.bf16 and self.fp16:
            raise BadInput(f"[{self.TABLE}] bf16 and fp16 are both true: choose one.")
        if self.load_in_4bit and self.fp16:
            raise BadInput(f"[{self.TABLE}] load_in_4bit trains adapters in bfloat16: set bf16 instead of fp16.")

    def needs_gpu(self) -> tuple[str, str] | None:
        """A setting that no CPU can follow, and what to set instead."""
        if self.optim.startswith("paged_"):
            return f"optim {self.optim}", 'set optim = "adamw_torch"'
        return ("fp16", "set fp16 = false") if self.fp16 else None

    def check_gpu(self, gpus: int) -> None:
        """Raise BadInput where a setting needs a GPU and there is none."""
        if (needs := self.needs_gpu()) and not gpus:
            setting, advice = needs
            raise BadInput(f"[{self.TABLE}] {setting} needs a GPU, and there is none: {advice}.")

    @property
    def batch(self) -> int:
        """Rows (sft) or completions (grpo) of one optimizer step, of all processes together."""
        return self.per_device_train_batch_size * self.gradient_accumulation_steps

    def accumulation(self, processes: int) -> int:
        """Batches that each of `processes` accumulates for the same step; BadInput where they cannot share them."""
        if self.gradient_accumulation_steps % processes:
            steps = self.gradient_accumulation_steps
            divisors = [n for n in range(1, steps + 1) if steps % n == 0]
            raise BadInput(
                f"[{self.TABLE}] gradient_accumulation_steps is {steps} and cannot be shared by {processes} processes: "
                f"use --processes {' or '.join(map(str, divisors))}, or raise it to a multiple of {processes} and "
                f"lower per_device_train_batch_size, now {self.per_device_train_batch_size}, for the same step."
            )
        return self.gradient_accumulation_steps // processes


def configs(config: type[Trained], recipe: Recipe, **given: Any) -> list[Trained]:
    """One `config` for each variant of its trainer and each seed; `given` are values that no recipe's table sets."""
    from permix.stages import mixtures

    sources = {(c.variant, c.seed): mixtures.target(c) for c in mixtures.configs(recipe)}
    shared = {
        "org": recipe.org,
        "tag": recipe.tag,
        "base": recipe.base_repo,
        "base_slug": recipe.base_slug,
        **given,
        **recipe.settings(config.TABLE),
    }
    return [
        config(variant=name, seed=seed, mixture=sources[name, seed], **shared)
        for name, seed in recipe.runs()
        if variants.get(name).trainer == config.TABLE
    ]


def target(config: TrainerConfig) -> str:
    """`org/<base-slug>-<variant>`."""
    return config.name(f"{config.base_slug}-{config.variant}")


def inputs(config: TrainerConfig) -> dict[str, str]:
    """The base and the mixture."""
    return {"base": config.base, "mixture": config.mixture}


def trainer_keys(config: TrainerConfig) -> dict[str, Any]:
    """The fields of `config` that are the trainer's, by TRL's names."""
    others = LORA + QUANTISATION + LAUNCH + PROBES
    return {name: getattr(config, name) for name in own_fields(type(config)) if name not in others}


def arguments(config: TrainerConfig, parts: Parts) -> dict[str, Any]:
    """Everything to make TRL's config of: the recipe's keys, and what follows from the machine."""
    import torch

    on_cpu = not torch.cuda.is_available()
    return {
        "output_dir": str(parts.work / "checkpoints"),
        "seed": config.seed,
        "use_cpu": on_cpu,
        "dataloader_pin_memory": not on_cpu,
        "disable_tqdm": True,
        "log_level": "error",
        "save_total_limit": 2,
        "push_to_hub": False,
        "project": "permix",  # trackio's; a run that goes on after a kill has the same name, and is the same there
        "run_name": target(config).partition("/")[2],
        "ddp_find_unused_parameters": False,  # LoRA has none; the search costs a walk over the graph every step
        **trainer_keys(config),
        "gradient_accumulation_steps": config.accumulation(parts.processes),
    }
