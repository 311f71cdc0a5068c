"""The recipes that come with permix: each parses, and paper.toml says of every value where it is from."""

import re

import pytest

from permix import files, paper
from permix.paper import variants
from permix.pipeline import plan, recipes
from permix.pipeline.estimate import costs, estimate, shapes
from permix.stages import grpo, sft
from permix.training import settings

MARK = re.compile(r"# (stated|inferred|assumed): \S+")


def paper_lines() -> list[str]:
    """The lines of paper.toml that begin a key."""
    text = (files.RECIPES / "paper.toml").read_text(encoding="utf-8")
    return [line for line in text.splitlines() if re.match(r"\w+ = ", line)]


def test_every_key_of_the_paper_recipe_says_where_its_value_is_from() -> None:
    unmarked = [line for line in paper_lines() if not MARK.search(line)]
    assert len(paper_lines()) > 60
    assert not unmarked


def test_the_paper_recipe_leaves_no_trainer_setting_to_a_default() -> None:
    """What decides the result stands in the recipe, so that a changed default of ours changes no reproduction."""
    loaded = recipes.load("paper")
    machine = {"fp16", "logging_steps", "save_steps", "report_to", "max_steps"}
    unused = {"use_vllm", "vllm_mode", "vllm_gpu_memory_utilization", "vllm_max_model_length", "vllm_server_base_url"}
    unused |= {"use_transformers_continuous_batching", "completion_only_loss", "assistant_only_loss", "loss_type"}
    for table, page in (("sft", sft), ("grpo", grpo)):
        expected = set(settings.trainer_keys(page.configs(loaded)[0])) - machine - unused  # type: ignore[attr-defined]
        assert expected <= set(loaded.settings(table)), table


def test_the_paper_recipe_has_the_values_of_tables_5_to_7() -> None:
    loaded = recipes.load("paper")
    assert {v for v in variants.VARIANTS if not v.endswith("toy")} == set(loaded.variants)
    assert len(loaded.variants) == 12
    first, second = sft.configs(loaded)[0], grpo.configs(loaded)[0]
    assert (first.optim, first.weight_decay, first.num_train_epochs) == ("paged_adamw_8bit", 0, 3)
    assert (second.num_generations, second.max_completion_length, second.max_grad_norm) == (8, 512, 0.1)
    for config in (first, second):
        assert config.load_in_4bit
        assert config.use_bnb_nested_quant
        assert config.bf16
        assert (config.lora_dropout, config.warmup_steps, config.lr_scheduler_type) == (0.05, 0.05, "cosine")
    assert (first.batch, first.accumulation(8), second.batch, second.accumulation(8)) == (128, 8, 64, 1)


def test_the_steps_of_the_paper_follow_from_its_batches() -> None:
    """177 for SFT and 934 for RLVR: 7,473 problems in batches of 128 and of 64 / 8."""
    steps = plan.build(recipes.load("paper"))
    amounts = estimate.amounts(steps, costs.machine("a5000", 8), lambda repo: shapes.find(repo, None))
    by_target = {step.target.split("/")[-1]: amount for step, amount in zip(steps, amounts, strict=True)}
    assert by_target["Llama-3.1-8B-Instruct-sft"].steps == 177
    assert by_target["Llama-3.1-8B-Instruct-permix-rlvr"].steps == 934
    assert by_target["Llama-3.1-8B-Instruct-permix-rlvr"].completions == 934 * 64
    assert by_target["permix-sweep-Llama-3.1-8B-Instruct-rlvr"].completions == (16 + 2) * 5 * (1319 + 500 + 30)
    assert sum(amount.completions for amount in amounts) > 2_000_000
    trained = [a for s, a in zip(steps, amounts, strict=True) if s.stage.name in ("sft", "grpo")]
    assert max(a.memory for a in trained) < 24 * costs.GIB


FITS = [("single-gpu", "a5000"), ("t4", "t4"), ("laptop", "cpu"), ("small-models", "cpu"), ("small-training", "cpu")]


@pytest.mark.parametrize(("name", "kind"), FITS)
def test_every_recipe_fits_the_machine_that_it_is_for(name: str, kind: str) -> None:
    steps = plan.build(recipes.load(name))
    on = costs.machine(kind)
    amounts = estimate.amounts(steps, on, lambda repo: shapes.find(repo, None))
    assert max(amount.memory for amount in amounts) < min(on.device.memory, 16) * costs.GIB
    assert sum(amount.seconds for amount in amounts) < 48 * 3600


def test_the_laptop_recipe_trains_nothing_and_needs_no_accepted_terms() -> None:
    loaded = recipes.load("laptop")
    assert {step.stage.name for step in plan.build(loaded)}.isdisjoint({"sft", "grpo", "teachers", "rewrites"})
    assert loaded.base.startswith("Qwen/")
    assert loaded.settings("sweep")["limit"] == 20


def test_a_t4_gets_no_bfloat16() -> None:
    loaded = recipes.load("t4")
    assert all(config.fp16 and not config.bf16 and not config.load_in_4bit for config in grpo.configs(loaded))
    assert loaded.settings("sweep")["dtype"] == "float16"


def test_the_calibration_looks_at_no_permix_row() -> None:
    assert recipes.load("calibrate").variants == ("base", "rlvr")


def test_the_public_models_are_the_columns_of_tables_8_and_9() -> None:
    loaded = recipes.load("public-models")
    slugs = [other.slug if (other := variants.other(name)) else loaded.base_slug for name in loaded.variants]
    columns = paper.printed("tables_8_9")["table8_math500"]["models"]
    assert sorted(map(str, map(paper.model_of, slugs))) == sorted(columns)
    assert [b.name for b in loaded.benchmarks] == ["math500", "aime2024"]
    assert loaded.settings("sweep")["runs"] == 5


@pytest.mark.parametrize("name", ["public-models", "stages"])
def test_other_models_are_measured_and_nothing_is_trained(name: str) -> None:
    loaded = recipes.load(name)
    steps = plan.build(loaded)
    assert {step.stage.name for step in steps}.isdisjoint({"base", "mixtures", "sft", "grpo", "teachers", "rewrites"})
    assert sum(step.stage.name == "sweep" for step in steps) == len(loaded.variants) >= 10
    amounts = estimate.amounts(steps, costs.machine("h100"), lambda repo: shapes.find(repo, None))
    assert sum(amount.completions for amount in amounts) > 500_000
