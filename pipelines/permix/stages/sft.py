"""Fine-tune a LoRA adapter on targets: SFT, SeqKD and their PerMix variants, by their mixtures (4.1, B.2-B.3).

In:  base, mixture
Out: adapter_model.safetensors, adapter_config.json (base's Hub id and revision), tokenizer,
     log.jsonl (one row per logged step), figures/training.{png,svg}

The trainer is TRL's own; the loss covers the target only (TRL's prompt-completion format).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from permix.errors import BadInput
from permix.experiment.recipe import Recipe
from permix.stage import Facts, Stage, StageContext, setting
from permix.stages.shared import trained
from permix.stages.shared.trained import inputs
from permix.training import settings
from permix.training.settings import target


@dataclass(frozen=True, kw_only=True)
class Config(settings.TrainerConfig):
    """The keys of TRL's SFTConfig."""

    TABLE: ClassVar[str] = "sft"
    num_train_epochs: float = 3.0
    max_length: int = setting(1024, help="maximum tokens of a row, prompt and target. A longer row is an error")
    packing: bool = setting(False, help="pack several rows into one sequence")
    completion_only_loss: bool = setting(True, help="compute the loss on the target only, not on the prompt")
    assistant_only_loss: bool = setting(False, help="loss on tokens that the chat template marks as the assistant's")
    loss_type: Literal["nll", "dft"] = setting("nll", help="loss: nll or dft (dynamic fine-tuning)")


def configs(recipe: Recipe) -> list[Config]:
    """Return one Config for each SFT variant and seed."""
    return trained.configs(Config, recipe)


def estimate(config: Config) -> dict[str, float]:
    """Return the maximum of training tokens; 0 unless the recipe sets max_steps."""
    return {"tokens": max(config.max_steps, 0) * config.batch * config.max_length}


def run(config: Config, inputs: Mapping[str, Path], out: Path, *, context: StageContext) -> Facts:
    """Train, resuming from the last complete checkpoint in `context.work`, and save the adapter."""
    from permix.results.reporting import curves
    from permix.training import adapter, loop, rows

    trainer, lengths = build(config, inputs, context)
    log = loop.train(trainer, config)
    adapter.save(trainer, context, out)
    loop.write_lines(out / "log.jsonl", log)
    curves.training(log, out / "figures" / "training")
    epochs, further_steps = divmod(trainer.state.global_step, math.ceil(len(lengths) / config.batch))
    return {
        "steps": trainer.state.global_step,
        "loss_first": log[0]["loss"],
        "loss_last": log[-1]["loss"],
        "longest_row": max(lengths),
        "mixture": rows.provenance(inputs["mixture"]),
        "cost": {
            "rows_seen": epochs * len(lengths) + further_steps * config.batch,
            "tokens_trained": int(trainer.state.num_input_tokens_seen),
            "processes": context.processes,
        },
    }


def build(config: Config, inputs: Mapping[str, Path], context: StageContext) -> tuple[Any, Sequence[int]]:
    """Return TRL's trainer and the tokens of each row; the mixture is checked before the base loads."""
    import datasets
    from trl import SFTConfig, SFTTrainer

    from permix.sampling.sampler import CHAT_TEMPLATE_KWARGS
    from permix.training import loop, model, rows

    model.check_machine(config)
    tokenizer = model.load_tokenizer(config, inputs["base"])
    table = rows.read(inputs["mixture"], ["prompt", "completion", "problem_id"])
    rows.check_template(tokenizer, table, config.base)
    lengths = _lengths(config, tokenizer, table)
    rows.check_context(config.base, inputs["base"], max(lengths), "The longest row of the mixture")
    datasets.disable_progress_bars()
    trainer = SFTTrainer(
        model=model.load_base(config, inputs["base"]),
        args=SFTConfig(include_num_input_tokens_seen="non_padding", **settings.arguments(config, context)),
        train_dataset=datasets.Dataset.from_list(
            [
                {"prompt": r["prompt"], "completion": r["completion"], "chat_template_kwargs": CHAT_TEMPLATE_KWARGS}
                for r in table
            ]
        ),
        processing_class=tokenizer,
        peft_config=model.lora(config),
        callbacks=[loop.report(context, "loss")],
    )
    return trainer, lengths


def _lengths(config: Config, tokenizer: Any, table: Sequence[Mapping[str, Any]]) -> list[int]:
    """Return the tokens of each row; BadInput for empty targets, long rows, and templates that change the prompt."""
    from permix.training import rows

    for row in table:
        if not any(message["content"].strip() for message in row["completion"]):
            raise BadInput(f"The target of {row['problem_id']} in {config.mixture} is empty: make the mixture again.")
    prompts = rows.token_ids(tokenizer, [row["prompt"] for row in table], add_generation_prompt=True)
    whole = rows.token_ids(tokenizer, [row["prompt"] + row["completion"] for row in table])
    for prompt, row_ids in zip(prompts, whole, strict=True):
        if row_ids[: len(prompt)] != prompt:
            raise BadInput(
                f"The chat template of {config.base} begins an answer differently in a prompt than in a whole chat "
                f"({tokenizer.decode(prompt[-8:])!r}): choose another base, or change its template."
            )
    lengths = [len(ids) for ids in whole]
    if too_long := sum(length > config.max_length for length in lengths):
        raise BadInput(
            f"{too_long} of {len(lengths)} rows of {config.mixture} are longer than [sft] max_length, "
            f"{config.max_length} tokens; the longest has {max(lengths)}: raise it, or let "
            "[mixtures] max_prompt_tokens or max_completion_tokens omit them."
        )
    return lengths


STAGE = Stage(
    name="sft",
    card="adapter",
    version=1,
    config=Config,
    configs=configs,
    target=target,
    inputs=inputs,
    run=run,
    estimate=estimate,
    needs=lambda config: settings.PACKAGES,
    ranks=True,
)
