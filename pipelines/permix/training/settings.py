"""The settings of both trainers, with the keys of TRL's trainers and of its ModelConfig (for peft, bitsandbytes)."""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from permix.errors import BadInput
from permix.stage import StageConfig, StageContext, own_fields, recipe_field, setting, unhashed

PACKAGES = ("torch", "transformers", "trl", "peft")
LORA = ("lora_r", "lora_alpha", "lora_dropout", "lora_target_modules")
QUANTISATION = ("load_in_4bit", "bnb_4bit_quant_type", "use_bnb_nested_quant")
LAUNCH = ("accelerate_config", "checkpoint_branch")
PROBES = ("probe_steps", "probe_problems")
LINEAR = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


@dataclass(frozen=True, kw_only=True)
class TrainerConfig(StageConfig):
    """The keys of both stages, sft and grpo; each adds its trainer's keys and defaults.

    The batch of a step is `per_device_train_batch_size` x `gradient_accumulation_steps` for any number of processes,
    because it decides the result; the processes share the accumulation steps.
    """

    TABLE: ClassVar[str]

    variant: str = recipe_field()
    base: str = recipe_field()
    base_slug: str = recipe_field()
    mixture: str = recipe_field()
    learning_rate: float = setting(2e-4, help="peak learning rate")
    lr_scheduler_type: str = setting("cosine", help="learning rate schedule, by its name in transformers")
    warmup_steps: float = setting(0.05, help="warmup steps. A number below 1 is a share of all steps")
    weight_decay: float = setting(0.0, help="weight decay of the optimizer")
    max_grad_norm: float = setting(1.0, help="clip gradients to this norm")
    optim: str = setting("adamw_torch_fused", help="optimizer, by its name in transformers")
    adam_beta1: float = setting(0.9, help="Adam's decay rate for the mean of the gradients")
    adam_beta2: float = setting(0.999, help="Adam's decay rate for the mean of their squares")
    per_device_train_batch_size: int = setting(16, help="rows (sft) or completions (grpo) per forward pass")
    gradient_accumulation_steps: int = setting(1, help="forward passes per step, over all processes")
    num_train_epochs: float = setting(1.0, help="passes over the mixture")
    max_steps: int = setting(-1, help="total steps (-1: as many as the epochs have)")
    bf16: bool = setting(False, help="load and train in bfloat16")
    fp16: bool = setting(False, help="load and train in float16")
    gradient_checkpointing: bool = setting(False, help="recompute activations: less memory, more time")
    lora_r: int = setting(16, help="rank of the adapter")
    lora_alpha: int = setting(32, help="numerator of the adapter's scale, lora_alpha / lora_r")
    lora_dropout: float = setting(0.05, help="dropout of the adapter's inputs")
    lora_target_modules: tuple[str, ...] = setting(LINEAR, help="layers with an adapter")
    load_in_4bit: bool = setting(False, help="QLoRA: load the base in 4 bits and compute in bfloat16")
    bnb_4bit_quant_type: Literal["nf4", "fp4"] = setting("nf4", help="data type of QLoRA: nf4 or fp4")
    use_bnb_nested_quant: bool = setting(False, help="quantise QLoRA's scales too")
    logging_steps: int = setting(1, help="interval between log entries, in steps")
    save_steps: int = unhashed(10, help="interval between checkpoints, in steps. Does not change the result")
    report_to: Literal["none", "trackio"] = unhashed(
        "none", help="dashboard of the training: none or trackio. Does not change the result"
    )
    accelerate_config: str = unhashed(
        "", help="accelerate configuration for several processes: a name of TRL's or a file. Does not change the result"
    )
    checkpoint_branch: Literal["none", "delete", "keep"] = unhashed(
        "none",
        help="push checkpoints to a Hub branch, and delete or keep it at the end; or none. Does not change the result",
    )

    def __post_init__(self) -> None:
        if self.max_steps < 1 and self.max_steps != -1:
            raise self.refused("max_steps", "at least 1, or -1 for all epochs")
        for name in ("learning_rate", "num_train_epochs"):
            if getattr(self, name) <= 0:
                raise self.refused(name, "above 0")
        self.refuse_below(1, "per_device_train_batch_size", "gradient_accumulation_steps", "lora_r", "logging_steps")
        if self.save_steps < 1 or self.save_steps % self.logging_steps:  # or a kill could lose a log entry
            raise self.refused("save_steps", f"a multiple of logging_steps, {self.logging_steps}")
        if not 0 <= self.lora_dropout < 1:
            raise self.refused("lora_dropout", "from 0 to below 1")
        if self.bf16 and self.fp16:
            raise BadInput(f"[{self.TABLE}] bf16 and fp16 are both true: choose one.")
        if self.load_in_4bit and self.fp16:
            raise BadInput(f"[{self.TABLE}] load_in_4bit trains adapters in bfloat16: set bf16 instead of fp16.")

    def needs_gpu(self) -> tuple[str, str] | None:
        """Return the setting that needs a GPU and the advice for a CPU; None without such a setting."""
        if self.optim.startswith("paged_"):
            return f"optim {self.optim}", 'set optim = "adamw_torch"'
        return ("fp16", "set fp16 = false") if self.fp16 else None

    def check_gpu(self, gpus: int) -> None:
        """Raise BadInput if a setting needs a GPU and there is none."""
        if (needs := self.needs_gpu()) and not gpus:
            setting, advice = needs
            raise BadInput(f"[{self.TABLE}] {setting} needs a GPU, and there is none: {advice}.")

    @property
    def batch(self) -> int:
        """Rows (sft) or completions (grpo) of one optimizer step, over all processes."""
        return self.per_device_train_batch_size * self.gradient_accumulation_steps

    def accumulation(self, processes: int) -> int:
        """Return the accumulation steps of each of `processes` for the same batch; BadInput if they do not divide."""
        if self.gradient_accumulation_steps % processes:
            steps = self.gradient_accumulation_steps
            divisors = [n for n in range(1, steps + 1) if steps % n == 0]
            raise BadInput(
                f"[{self.TABLE}] gradient_accumulation_steps is {steps} and cannot be shared by {processes} processes: "
                f"use --processes {' or '.join(map(str, divisors))}, or raise it to a multiple of {processes} and "
                f"lower per_device_train_batch_size, now {self.per_device_train_batch_size}, for the same step."
            )
        return self.gradient_accumulation_steps // processes


def target(config: TrainerConfig) -> str:
    """Return `org/<base-slug>-<variant>`."""
    return config.name(f"{config.base_slug}-{config.variant}")


def trainer_keys(config: TrainerConfig) -> dict[str, Any]:
    """Return the fields of `config` that are keys of TRL's trainer."""
    others = LORA + QUANTISATION + LAUNCH + PROBES
    return {name: getattr(config, name) for name in own_fields(type(config)) if name not in others}


def arguments(config: TrainerConfig, context: StageContext) -> dict[str, Any]:
    """Return the arguments of TRL's config: the recipe's keys, and those that follow from the machine."""
    import torch

    on_cpu = not torch.cuda.is_available()
    return {
        "output_dir": str(context.work / "checkpoints"),
        "seed": config.seed,
        "use_cpu": on_cpu,
        "dataloader_pin_memory": not on_cpu,
        "disable_tqdm": True,
        "log_level": "error",
        "save_total_limit": 2,
        "push_to_hub": False,
        "project": "permix",  # trackio's; a resumed run has the same name, and is the same run there
        "run_name": target(config).partition("/")[2],
        "ddp_find_unused_parameters": False,  # LoRA has none, and the search walks the graph every step
        **trainer_keys(config),
        "gradient_accumulation_steps": config.accumulation(context.processes),
    }
