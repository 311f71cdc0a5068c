"""Train a LoRA adapter by GRPO with a verifiable reward: RLVR and PerMix-RLVR, one page, two mixtures (4.1, B.4-B.5).

In:  base, mixture; personas (pool eval) where it is probed
Out: adapter_model.safetensors, adapter_config.json (base's Hub id and revision), tokenizer,
     log.jsonl (one row per logged step), samples.jsonl (two completions per persona), figures/training.{png,svg},
     probe.jsonl (one row per probe, permix.training.probe)

The trainer is TRL's own; the reward is permix.verifier, the same function that scores the sweeps.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from permix.errors import BadInput
from permix.experiment.recipe import Recipe
from permix.prompting import persona
from permix.stage import Facts, Parts, given, unhashed
from permix.training import settings
from permix.training.settings import TrainerConfig
from permix.training.settings import target as target

if TYPE_CHECKING:
    from permix.training.rollouts import Reward

CARD = "adapter"
RANKS = True
VERSION = 3  # probes


@dataclass(frozen=True, kw_only=True)
class Config(TrainerConfig):
    """TRL's GRPOConfig keys. Rollouts are transformers' own, or vLLM's (`use_vllm`) where the base is not quantised.

    num_generations: completions of one prompt, the group whose mean is the baseline
    max_completion_length: cuts a completion after so many tokens
    beta: weight of the KL divergence from the base
    temperature: temperature of the rollouts (the completions that are rewarded)
    top_p: rollouts are drawn among the likeliest tokens that have this probability together
    loss_type: how tokens and completions are averaged
    scale_rewards: what rewards are divided by: the deviation of the group, the batch or none
    use_transformers_continuous_batching: rollouts by transformers' continuous batching
    use_vllm: rollouts by vLLM
    vllm_mode: where vLLM runs: in the trainer's process (colocate), or a server with a GPU of its own (server)
    vllm_server_base_url: where that server is; does not change the result
    vllm_gpu_memory_utilization: share of the GPU's memory for vLLM (colocate)
    vllm_max_model_length: the most tokens of prompt and completion in vLLM (colocate)
    probe_steps: steps from one probe to the next, a few problems under every persona of the evaluation pool (0: none)
    probe_problems: problems of a probe
    """

    TABLE: ClassVar[str] = "grpo"
    learning_rate: float = 5e-6
    weight_decay: float = 0.1
    max_grad_norm: float = 0.1
    adam_beta2: float = 0.99
    per_device_train_batch_size: int = 64
    num_generations: int = 8
    max_completion_length: int = 512
    beta: float = 0.0
    temperature: float = 1.0
    top_p: float = 1.0
    loss_type: Literal["dapo", "grpo", "dr_grpo", "bnpo"] = "dapo"
    scale_rewards: Literal["group", "batch", "none"] = "group"
    use_transformers_continuous_batching: bool = False
    use_vllm: bool = False
    vllm_mode: Literal["colocate", "server"] = "colocate"
    vllm_server_base_url: str = unhashed("http://127.0.0.1:8000")
    vllm_gpu_memory_utilization: float = 0.3
    vllm_max_model_length: int = 1024
    probe_steps: int = 0
    probe_problems: int = 8
    personas: str = given(default="")
    toy: bool = given(default=False)

    def __post_init__(self) -> None:
        """Refuse what no training can start with."""
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
        """What no CPU can do, and what to do instead."""
        if self.use_vllm and self.vllm_mode == "server":
            return 'vllm_mode "server"', 'set vllm_mode = "colocate"'
        return super().needs_gpu()


def packages(config: Config) -> tuple[str, ...]:
    """What the training imports."""
    return (*settings.PACKAGES, *(["vllm"] if config.use_vllm else []))


NEEDS = packages


def configs(recipe: Recipe) -> list[Config]:
    """One for each GRPO variant and seed."""
    probed = recipe.settings("grpo").get("probe_steps")
    known = {"personas": recipe.personas_repo, "toy": recipe.base == "toy"} if probed else {}
    return settings.configs(Config, recipe, **known)


def inputs(config: Config) -> dict[str, str]:
    """The base and the mixture; the personas where it is probed."""
    return settings.inputs(config) | ({"personas": config.personas} if config.probe_steps else {})


def estimate(config: Config) -> dict[str, float]:
    """Completions to sample, where the recipe bounds the steps, and at most so many tokens."""
    completions = max(config.max_steps, 0) * config.batch
    if config.probe_steps:
        probes = max(config.max_steps, 0) // config.probe_steps + 2  # the first, and the last where it is another
        completions += probes * config.probe_problems * len(persona.bundled("eval"))
    return {"completions": completions, "tokens": completions * config.max_completion_length}


def run(config: Config, inputs: Mapping[str, Path], out: Path, *, parts: Parts) -> Facts:
    """Train, resuming from the last complete checkpoint in `parts.work`, and save the adapter."""
    from permix.results.reporting import curves
    from permix.training import adapter, loop, probe, rollouts, rows

    reward = rollouts.Reward(parts.work / "samples")
    trainer = build(config, inputs, parts, reward)
    log = loop.train(trainer, config)
    adapter.save(trainer, parts, out)
    loop.write_lines(out / "log.jsonl", log)
    loop.write_lines(out / "samples.jsonl", rollouts.samples(reward.folder))
    if config.probe_steps:
        loop.write_lines(out / "probe.jsonl", probe.found(trainer.state.log_history))
    curves.training(log, out / "figures" / "training")
    tail = log[-max(1, len(log) // 10) :]
    completions = trainer.state.global_step * trainer.args.generation_batch_size
    return {
        "steps": trainer.state.global_step,
        "reward_first": log[0]["reward"],
        "reward_last": sum(entry["reward"] for entry in tail) / len(tail),
        "by_persona": rollouts.by_persona(log),
        "mixture": rows.made_from(inputs["mixture"]),
        "cost": {
            "prompts_seen": completions // config.num_generations,
            "completions": completions,
            "tokens_sampled": round(sum(entry["completions/mean_length"] for entry in log) / len(log) * completions),
            "tokens_trained": int(trainer.state.num_input_tokens_seen),
            "processes": parts.processes,
        },
    }


def build(config: Config, inputs: Mapping[str, Path], parts: Parts, reward: "Reward") -> Any:
    """TRL's trainer, everything checked; the mixture is checked before the base loads."""
    from datasets import Dataset
    from trl import GRPOConfig, GRPOTrainer

    from permix.sampling.sampler import CHAT_TEMPLATE_KWARGS
    from permix.training import loop, model, probe, rows, vllm_rollouts

    model.check_machine(config)
    tokenizer = model.load_tokenizer(config, inputs["base"])
    table = rows.read(inputs["mixture"], ["prompt", "gold", "kind", "persona", "problem_id"])
    asked = probe.questions(config, table, inputs["personas"]) if config.probe_steps else []
    rows.check_template(tokenizer, [*table, *asked], config.base)
    longest = max(rows.prompt_lengths(tokenizer, [*table, *asked])) + config.max_completion_length
    rows.check_context(config.base, inputs["base"], longest, "The longest prompt with [grpo] max_completion_length")
    if config.use_vllm:
        vllm_rollouts.prepare(config, longest)
    trainer = GRPOTrainer(
        model=model.load_base(config, inputs["base"]),
        reward_funcs=reward,
        args=GRPOConfig(chat_template_kwargs=CHAT_TEMPLATE_KWARGS, **settings.arguments(config, parts)),
        train_dataset=Dataset.from_list(table),
        processing_class=tokenizer,
        peft_config=model.lora(config),
        callbacks=[
            loop.report(parts, "reward"),
            *([vllm_rollouts.canary()] if config.use_vllm else []),
            *([probe.callback(config, tokenizer, asked)] if asked else []),
        ],
    )
    reward.ends = frozenset(trainer.eos_token_ids)
    return trainer
