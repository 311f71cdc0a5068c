"""Train a LoRA adapter by GRPO with a verifiable reward: RLVR and PerMix-RLVR, one page, two mixtures (4.1, B.4-B.5).

In:  base, mixture
Out: adapter_model.safetensors, adapter_config.json (base's Hub id and revision), tokenizer,
     log.jsonl (one row per logged step)

The trainer is TRL's own; the reward is permix.verifier, the same function that scores the sweeps.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from permix import files, variant
from permix.errors import BadInput
from permix.stage import Facts, Parts, StageConfig, given, own_fields, unhashed

if TYPE_CHECKING:
    from permix.recipe import Recipe

CARD = "adapter"
NEEDS = ("torch", "transformers", "trl", "peft")
VERSION = 1
LORA = ("lora_r", "lora_alpha", "lora_dropout", "lora_target_modules")
LINEAR = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


@dataclass(frozen=True, kw_only=True)
class Config(StageConfig):
    """TRL's GRPOConfig keys, and peft's under the names of TRL's ModelConfig (`lora_*`)."""

    variant: str = given()
    base: str = given()
    base_slug: str = given()
    mixture: str = given()
    learning_rate: float = 5e-6
    lr_scheduler_type: str = "cosine"
    warmup_steps: float = 0.05
    weight_decay: float = 0.1
    max_grad_norm: float = 0.1
    optim: str = "adamw_torch_fused"
    adam_beta1: float = 0.9
    adam_beta2: float = 0.99
    per_device_train_batch_size: int = 64
    gradient_accumulation_steps: int = 1
    num_generations: int = 8
    max_completion_length: int = 512
    num_train_epochs: float = 1.0
    max_steps: int = -1
    beta: float = 0.0
    temperature: float = 1.0
    top_p: float = 1.0
    loss_type: Literal["dapo", "grpo", "dr_grpo", "bnpo"] = "dapo"
    scale_rewards: Literal["group", "batch", "none"] = "group"
    bf16: bool = False
    gradient_checkpointing: bool = False
    lora_r: int = 16
    lora_alpha: int = 32
    lora_dropout: float = 0.05
    lora_target_modules: tuple[str, ...] = LINEAR
    logging_steps: int = 1
    save_steps: int = unhashed(10)

    def __post_init__(self) -> None:
        if self.num_generations < 2:
            raise BadInput(f"[grpo] num_generations is {self.num_generations}: a group needs at least 2.")
        batch = self.per_device_train_batch_size * self.gradient_accumulation_steps
        if batch % self.num_generations:
            divisors = [n for n in range(2, batch + 1) if batch % n == 0]
            raise BadInput(
                f"[grpo] num_generations is {self.num_generations} and does not divide the {batch} completions of a "
                "step (per_device_train_batch_size x gradient_accumulation_steps): "
                f"use one of {', '.join(map(str, divisors))}."
            )
        if self.max_steps < 1 and self.max_steps != -1:
            raise BadInput(f"[grpo] max_steps is {self.max_steps}: it should be at least 1, or -1 for all epochs.")
        for name in ("learning_rate", "max_completion_length", "save_steps", "lora_r"):
            if getattr(self, name) <= 0:
                raise BadInput(f"[grpo] {name} is {getattr(self, name)}: it should be above 0.")


def configs(recipe: "Recipe") -> list[Config]:
    """One for each GRPO variant and seed."""
    from permix.stages import mixtures

    sources = {(c.variant, c.seed): mixtures.target(c) for c in mixtures.configs(recipe)}
    shared = {
        "org": recipe.org,
        "tag": recipe.tag,
        "base": recipe.base_repo,
        "base_slug": recipe.base_slug,
        **recipe.settings("grpo"),
    }
    return [
        Config(variant=name, seed=seed, mixture=sources[name, seed], **shared)
        for name, seed in recipe.runs()
        if variant.get(name).trainer == "grpo"
    ]


def target(config: Config) -> str:
    """`org/<base-slug>-<variant>`."""
    return config.name(f"{config.base_slug}-{config.variant}")


def inputs(config: Config) -> dict[str, str]:
    """The base and the mixture."""
    return {"base": config.base, "mixture": config.mixture}


def estimate(config: Config) -> dict[str, float]:
    """Completions to sample, where the recipe bounds the steps, and at most so many tokens."""
    batch = config.per_device_train_batch_size * config.gradient_accumulation_steps
    completions = max(config.max_steps, 0) * batch
    return {"completions": completions, "tokens": completions * config.max_completion_length}


def trainer_keys(config: Config) -> dict[str, Any]:
    """The fields of `config` that are TRL's, by TRL's names."""
    return {name: getattr(config, name) for name in own_fields(Config) if name not in LORA}


def run(config: Config, inputs: Mapping[str, Path], out: Path, *, parts: Parts) -> Facts:
    """Train, resuming from the last complete checkpoint in `parts.work`, and save the adapter."""
    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, AutoTokenizer, set_seed
    from trl import GRPOConfig, GRPOTrainer

    from permix.verifier import accuracy_reward

    rows = _mixture(inputs["mixture"])
    on_cpu = not torch.cuda.is_available()
    arguments = GRPOConfig(
        output_dir=str(parts.work / "checkpoints"),
        seed=config.seed,
        use_cpu=on_cpu,
        dataloader_pin_memory=not on_cpu,
        report_to="none",
        disable_tqdm=True,
        log_level="error",
        save_total_limit=2,
        push_to_hub=False,
        **trainer_keys(config),
    )
    set_seed(config.seed)  # LoRA's A matrices are drawn when the trainer wraps the model
    tokenizer = AutoTokenizer.from_pretrained(inputs["base"])
    if tokenizer.chat_template is None:
        raise BadInput(f"{config.base} has no chat template: choose an instruct model or add one to its tokenizer.")
    dtype = torch.bfloat16 if config.bf16 else torch.float32
    trainer = GRPOTrainer(
        model=AutoModelForCausalLM.from_pretrained(inputs["base"], dtype=dtype),
        reward_funcs=accuracy_reward,
        args=arguments,
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
        peft_config=LoraConfig(
            r=config.lora_r,
            lora_alpha=config.lora_alpha,
            lora_dropout=config.lora_dropout,
            target_modules=list(config.lora_target_modules),
            task_type="CAUSAL_LM",
        ),
        callbacks=[_report(parts)],
    )
    trainer.train(resume_from_checkpoint=_last_complete(Path(arguments.output_dir)))
    _save(trainer.model, tokenizer, parts, out)
    history = [entry for entry in trainer.state.log_history if "reward" in entry]
    files.write_bytes(
        out / "log.jsonl", "".join(json.dumps(_comparable(entry), sort_keys=True) + "\n" for entry in history).encode()
    )
    tail = history[-max(1, len(history) // 10) :]
    return {
        "steps": trainer.state.global_step,
        "reward_first": history[0]["reward"],
        "reward_last": sum(entry["reward"] for entry in tail) / len(tail),
        "cost": {
            "tokens_trained": int(trainer.state.num_input_tokens_seen),
            "completions": trainer.state.global_step * arguments.generation_batch_size,
        },
    }


def _mixture(folder: Path) -> list[dict[str, Any]]:
    """The mixture's rows with what the trainer needs: `prompt`, and the columns that the reward reads."""
    import pyarrow.parquet as parquet

    table = parquet.read_table(
        folder / "data" / "train-00000-of-00001.parquet", columns=["prompt", "gold", "kind", "persona"]
    )
    return [dict(row) for row in table.to_pylist()]


def _last_complete(checkpoints: Path) -> str | None:
    """The newest checkpoint that was written to its end; a kill may have left half of a newer one."""
    complete = [path.parent for path in checkpoints.glob("checkpoint-*/complete")]
    return str(max(complete, key=lambda path: int(path.name.split("-")[1]))) if complete else None


def _report(parts: Parts) -> Any:
    """The callback that shows progress and marks finished checkpoints."""
    from transformers import TrainerCallback

    class Report(TrainerCallback):  # type: ignore[misc]
        def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **_: Any) -> None:
            if logs and "reward" in logs:
                parts.progress(state.global_step, state.max_steps, "steps", f"reward {logs['reward']:.2f}")

        def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            files.write_bytes(Path(args.output_dir) / f"checkpoint-{state.global_step}" / "complete", b"")

    return Report()


def _save(model: Any, tokenizer: Any, parts: Parts, out: Path) -> None:
    """Save adapter and tokenizer; the adapter names its base as on the Hub, its JSON is sorted (peft writes a set)."""
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)
    (out / "README.md").unlink(missing_ok=True)
    repository, _, revision = parts.sources["base"].partition("@")
    saved = json.loads((out / "adapter_config.json").read_text(encoding="utf-8"))
    saved |= {"base_model_name_or_path": repository, "revision": revision}
    saved["target_modules"] = sorted(saved["target_modules"])
    files.write_json(out / "adapter_config.json", saved)


_TIMES = ("step_time", "train_runtime", "train_samples_per_second", "train_steps_per_second")


def _comparable(entry: Mapping[str, float]) -> dict[str, float]:
    """A log entry without its times, so that two equal trainings leave equal logs."""
    return {name: value for name, value in entry.items() if name not in _TIMES}
