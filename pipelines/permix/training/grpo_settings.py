"""The settings of GRPO: the keys of TRL's trainer, of its rollouts, and of probes."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from permix.errors import BadInput
from permix.stage import recipe_field, setting, unhashed
from permix.training.settings import TrainerConfig


@dataclass(frozen=True, kw_only=True)
class Config(TrainerConfig):
    """The keys of TRL's GRPOConfig. Rollouts come from transformers, or from vLLM for a base that is not quantised."""

    TABLE: ClassVar[str] = "grpo"
    learning_rate: float = 5e-6
    weight_decay: float = 0.1
    max_grad_norm: float = 0.1
    adam_beta2: float = 0.99
    per_device_train_batch_size: int = 64
    num_generations: int = setting(8, help="completions per prompt. The mean reward of this group is the baseline")
    max_completion_length: int = setting(512, help="maximum tokens of a completion")
    beta: float = setting(0.0, help="weight of the KL divergence from the base")
    temperature: float = setting(1.0, help="sampling temperature of the rollouts")
    top_p: float = setting(1.0, help="sample rollouts from the most likely tokens with this total probability")
    loss_type: Literal["dapo", "grpo", "dr_grpo", "bnpo"] = setting(
        "dapo", help="how the loss averages over tokens and completions"
    )
    scale_rewards: Literal["group", "batch", "none"] = setting(
        "group", help="divide rewards by the standard deviation of the group or of the batch, or not at all (none)"
    )
    use_transformers_continuous_batching: bool = setting(False, help="rollouts by transformers' continuous batching")
    use_vllm: bool = setting(False, help="sample rollouts by vLLM")
    vllm_mode: Literal["colocate", "server"] = setting(
        "colocate", help="run vLLM in the trainer's process (colocate) or use a vLLM server with its own GPU (server)"
    )
    vllm_server_base_url: str = unhashed(
        "http://127.0.0.1:8000", help="address of the vLLM server. Does not change the result"
    )
    vllm_gpu_memory_utilization: float = setting(0.3, help="share of GPU memory for vLLM (colocate)")
    vllm_max_model_length: int = setting(1024, help="maximum tokens of prompt and completion in vLLM (colocate)")
    probe_steps: int = setting(0, help="steps between probes (a few problems under every evaluation persona; 0: none)")
    probe_problems: int = setting(8, help="problems per probe")
    personas: str = recipe_field("")
    toy: bool = recipe_field(False)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.num_generations < 2:
            raise BadInput(f"[grpo] num_generations is {self.num_generations}: a group needs at least 2.")
        if self.batch % self.num_generations:
            divisors = [n for n in range(2, self.batch + 1) if self.batch % n == 0]
            raise BadInput(
                f"[grpo] num_generations is {self.num_generations} and does not divide the {self.batch} completions of "
                "a step (per_device_train_batch_size x gradient_accumulation_steps): "
                f"use one of {', '.join(map(str, divisors))}."
            )
        self.refuse_below(1, "max_completion_length", "probe_problems")
        if self.probe_steps < 0:
            raise self.refused("probe_steps", "at least 1, or 0 for no probes")
        if self.use_vllm and self.load_in_4bit:
            raise BadInput(
                "[grpo] use_vllm and load_in_4bit are both true: TRL would merge the adapter into 4-bit weights at "
                "every step, which rounds it; set one of them to false."
            )
        if self.use_vllm and self.use_transformers_continuous_batching:
            raise BadInput("[grpo] use_vllm and use_transformers_continuous_batching are both true: choose one.")

    def needs_gpu(self) -> tuple[str, str] | None:
        """Return the setting that needs a GPU and the advice for a CPU; None without such a setting."""
        if self.use_vllm and self.vllm_mode == "server":
            return 'vllm_mode "server"', 'set vllm_mode = "colocate"'
        return super().needs_gpu()
