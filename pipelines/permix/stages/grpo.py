"""Train a LoRA adapter by GRPO with a verifiable reward: RLVR and PerMix-RLVR, by their mixtures (4.1, B.4-B.5).

In:  base, mixture; personas (pool eval), if it is probed
Out: adapter_model.safetensors, adapter_config.json (base's Hub id and revision), tokenizer,
     log.jsonl (one row per logged step), samples.jsonl (two completions per persona), figures/training.{png,svg},
     probe.jsonl (one row per probe, permix.training.probe)

The trainer is TRL's own; the reward is permix.verifier, the same function that scores the sweeps.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from permix.experiment.recipe import Recipe
from permix.prompting import persona
from permix.stage import Facts, Stage, StageContext
from permix.stages.shared import trained
from permix.training import settings
from permix.training.grpo_settings import Config
from permix.training.settings import target

if TYPE_CHECKING:
    from permix.training.rollouts import Reward


def packages(config: Config) -> tuple[str, ...]:
    """Return the packages that the training imports."""
    return (*settings.PACKAGES, *(["vllm"] if config.use_vllm else []))


def configs(recipe: Recipe) -> list[Config]:
    """Return one Config for each GRPO variant and seed."""
    probed = recipe.settings("grpo").get("probe_steps")
    values = {"personas": recipe.personas_repo, "toy": recipe.base == "toy"} if probed else {}
    return trained.configs(Config, recipe, **values)


def inputs(config: Config) -> dict[str, str]:
    """Return the base and the mixture, and the personas if it is probed."""
    return trained.inputs(config) | ({"personas": config.personas} if config.probe_steps else {})


def estimate(config: Config) -> dict[str, float]:
    """Return completions and the maximum of tokens; 0 unless the recipe sets max_steps."""
    completions = max(config.max_steps, 0) * config.batch
    if config.probe_steps:
        probes = max(config.max_steps, 0) // config.probe_steps + 2  # also before the first step and after the last
        completions += probes * config.probe_problems * len(persona.bundled("eval"))
    return {"completions": completions, "tokens": completions * config.max_completion_length}


def run(config: Config, inputs: Mapping[str, Path], out: Path, *, context: StageContext) -> Facts:
    """Train, resuming from the last complete checkpoint in `context.work`, and save the adapter."""
    from permix.results.reporting import curves
    from permix.training import adapter, loop, probe, rollouts, rows

    reward = rollouts.Reward(context.work / "samples")
    trainer = build(config, inputs, context, reward)
    log = loop.train(trainer, config)
    adapter.save(trainer, context, out)
    loop.write_lines(out / "log.jsonl", log)
    loop.write_lines(out / "samples.jsonl", rollouts.samples(reward.folder))
    if config.probe_steps:
        loop.write_lines(out / "probe.jsonl", probe.of_log(trainer.state.log_history))
    curves.training(log, out / "figures" / "training")
    tail = log[-max(1, len(log) // 10) :]
    completions = trainer.state.global_step * trainer.args.generation_batch_size
    return {
        "steps": trainer.state.global_step,
        "reward_first": log[0]["reward"],
        "reward_last": sum(entry["reward"] for entry in tail) / len(tail),
        "by_persona": rollouts.by_persona(log),
        "mixture": rows.provenance(inputs["mixture"]),
        "cost": {
            "prompts_seen": completions // config.num_generations,
            "completions": completions,
            "tokens_sampled": round(sum(entry["completions/mean_length"] for entry in log) / len(log) * completions),
            "tokens_trained": int(trainer.state.num_input_tokens_seen),
            "processes": context.processes,
        },
    }


def build(config: Config, inputs: Mapping[str, Path], context: StageContext, reward: "Reward") -> Any:
    """Return TRL's trainer; the mixture is checked before the base loads."""
    from datasets import Dataset
    from trl import GRPOConfig, GRPOTrainer

    from permix.sampling.sampler import CHAT_TEMPLATE_KWARGS
    from permix.training import loop, model, probe, rows, vllm_rollouts

    model.check_machine(config)
    tokenizer = model.load_tokenizer(config, inputs["base"])
    table = rows.read(inputs["mixture"], ["prompt", "gold", "kind", "persona", "problem_id"])
    questions = probe.questions(config, table, inputs["personas"]) if config.probe_steps else []
    rows.check_template(tokenizer, [*table, *questions], config.base)
    chats = [row["prompt"] for row in (*table, *questions)]
    longest = max(map(len, rows.token_ids(tokenizer, chats, add_generation_prompt=True))) + config.max_completion_length
    rows.check_context(config.base, inputs["base"], longest, "The longest prompt with [grpo] max_completion_length")
    if config.use_vllm:
        vllm_rollouts.prepare(config, longest)
    trainer = GRPOTrainer(
        model=model.load_base(config, inputs["base"]),
        reward_funcs=reward,
        args=GRPOConfig(chat_template_kwargs=CHAT_TEMPLATE_KWARGS, **settings.arguments(config, context)),
        train_dataset=Dataset.from_list(table),
        processing_class=tokenizer,
        peft_config=model.lora(config),
        callbacks=[
            loop.report(context, "reward"),
            *([vllm_rollouts.canary()] if config.use_vllm else []),
            *([probe.callback(config, tokenizer, questions)] if questions else []),
        ],
    )
    reward.ends = frozenset(trainer.eos_token_ids)
    return trainer


STAGE = Stage(
    name="grpo",
    card="adapter",
    version=3,  # probes
    config=Config,
    configs=configs,
    target=target,
    inputs=inputs,
    run=run,
    estimate=estimate,
    needs=packages,
    ranks=True,
)
