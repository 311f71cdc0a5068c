"""`permix plan --estimate`: what a recipe would take, before anything is loaded and without a Hub."""

from pathlib import Path

import pytest

from permix.commands import plan
from permix.errors import BadInput
from permix.pipeline import plan as chain
from permix.pipeline import recipes
from permix.pipeline.estimate import costs, estimate, shapes
from tests.support.command_line import permix_here, refused


def table(text: str) -> dict[str, list[str]]:
    """{stage: cells} of the printed table."""
    rows = [line.split() for line in text.split("\n\n")[0].splitlines()[1:]]
    return {row[0]: row[1:] for row in rows}


def amounts(name: str, *overrides: str, kind: str = "a5000", gpus: int = 1) -> dict[str, estimate.Amount]:
    steps = chain.build(recipes.load(name, overrides))
    estimates = estimate.amounts(steps, costs.machine(kind, gpus), lambda repo: shapes.find(repo, None))
    return {step.target.split("/")[-1]: amount for step, amount in zip(steps, estimates, strict=True)}


def test_the_papers_grid_is_estimated_without_a_hub(tmp_path: Path) -> None:
    options = ["--recipe", "paper", "--estimate", "--gpu", "a5000", "--gpus", "8", "--price-per-hour", "0.5"]
    done = permix_here(tmp_path / "home", "plan", *options)
    rows = table(done.stdout)
    assert (rows["sft"][:2], rows["grpo"][:2]) == (["27", "177"], ["6", "934"])
    assert int(rows["total"][2].replace(",", "")) > 2_000_000
    hours, usd = (float(cell.replace(",", "")) for cell in rows["total"][-2:])
    bought = {stage: float(cells[-1]) for stage, cells in rows.items() if cells[-2] == "–" != cells[-1]}
    assert usd == pytest.approx(hours * 8 * 0.5 + sum(bought.values()), rel=0.01)
    assert bought["rewrites"] > 1
    assert "An estimate for 8 x RTX A5000" in done.stdout
    assert "Assumed:\n- problems" in done.stdout
    assert not (tmp_path / "home" / "hub").exists()


def test_a_stage_that_does_not_fit_is_marked_and_what_to_lower_named(tmp_path: Path) -> None:
    large = ["--set", "grpo.per_device_train_batch_size=64", "--set", "sft.load_in_4bit=false"]
    done = permix_here(tmp_path / "home", "plan", "--recipe", "paper", "--estimate", "--gpu", "a5000", *large)
    assert table(done.stdout)["grpo"][5].startswith("!")
    assert "! marks more than the 24 GB of one RTX A5000: lower per_device_train_batch_size" in done.stdout


def test_the_toys_own_base_needs_no_table(tmp_path: Path) -> None:
    rows = table(permix_here(tmp_path / "home", "plan", "--recipe", "toy", "--estimate", "--gpu", "cpu").stdout)
    assert (rows["base"][1], rows["grpo"][1], rows["sweep"][2]) == ("2,000", "50", "32,400")


def test_a_phase_diagram_is_estimated_with_the_base_of_every_share(tmp_path: Path) -> None:
    command = ["plan", "--recipe", "phase", "--estimate", "--gpu", "cpu"]
    rows = table(permix_here(tmp_path / "home", *command).stdout)
    assert [rows[stage][0] for stage in ("base", "grpo", "sweep")] == ["5", "30", "35"]
    single = table(permix_here(tmp_path / "home", *command, "--set", "shares=[0.2]").stdout)
    assert [single[stage][0] for stage in ("base", "grpo", "sweep")] == ["1", "6", "7"]
    other = table(permix_here(tmp_path / "home", *command, "--set", "base=meta-llama/Llama-3.1-8B-Instruct").stdout)
    assert (other["grpo"][0], other["sweep"][0]) == ("6", "7"), "the diagram is of the toy base alone"


def test_a_calibration_is_estimated_with_every_point_of_its_grids_once(tmp_path: Path) -> None:
    done = permix_here(tmp_path / "home", "plan", "--recipe", "calibrate", "--estimate", "--gpu", "a5000")
    rows = table(done.stdout)  # base: 4, 4, 3 and 2 points; rlvr: 3, 3, 4 and 2; the first of each is the same one
    assert [rows[stage][0] for stage in ("grpo", "sweep")] == ["9", "19"]
    assert "tables" not in rows
    assert "Note: as permix calibrate makes it, every point of its 8 grids." in done.stderr


def test_an_unknown_gpu_is_refused_with_the_nearest() -> None:
    with pytest.raises(BadInput, match="There is no GPU 'a500' in permix's table: did you mean 'a5000'"):
        costs.machine("a500")


def test_more_devices_take_less_time_and_the_same_completions() -> None:
    single, eight = amounts("paper"), amounts("paper", gpus=8)
    name = "Llama-3.1-8B-Instruct-rlvr"
    assert single[name].completions == pytest.approx(eight[name].completions, rel=0.01)
    # a decoding step reads the weights once, whether for the 64 completions of the batch or for an eighth of them
    assert 2 < single[name].seconds / eight[name].seconds <= 8.5


def test_four_bits_checkpointing_and_small_batches_save_memory() -> None:
    name = "Llama-3.1-8B-Instruct-rlvr"
    usual = amounts("paper")[name].memory
    assert amounts("paper", "grpo.load_in_4bit=false")[name].memory > usual + 8 * costs.GIB
    assert amounts("paper", "grpo.gradient_checkpointing=false")[name].memory > 2 * usual
    assert amounts("paper", "grpo.use_bnb_nested_quant=false")[name].memory > usual
    halved = ("grpo.per_device_train_batch_size=4", "grpo.gradient_accumulation_steps=2", "grpo.num_generations=4")
    assert amounts("paper", *halved)[name].memory < usual


def test_a_kl_term_and_checkpointing_cost_time() -> None:
    name = "Llama-3.1-8B-Instruct-rlvr"
    usual = amounts("paper")[name].seconds
    assert amounts("paper", "grpo.beta=0.0")[name].seconds < usual
    assert amounts("paper", "grpo.gradient_checkpointing=false")[name].seconds < usual


def test_limits_bound_what_is_counted() -> None:
    limited = amounts("paper", "sweep.limit=10", "task.limit=80", "grpo.max_steps=5")
    assert limited["permix-sweep-Llama-3.1-8B-Instruct-base"].completions == 18 * 5 * 30
    assert limited["Llama-3.1-8B-Instruct-sft"].steps == 3  # one batch of 128 holds them all
    assert limited["Llama-3.1-8B-Instruct-rlvr"].steps == 5


def test_a_model_in_four_bits_takes_a_quarter_of_its_16_bits() -> None:
    name = "permix-sweep-Llama-3.1-8B-Instruct-base"
    four, sixteen = (
        amounts("paper", "sweep.backend=transformers", "sweep.batch_size=1", f"sweep.dtype={dtype}")[name].memory
        for dtype in ("nf4", "bfloat16")
    )
    linear = shapes.find("meta-llama/Llama-3.1-8B-Instruct", None).linear_parameters
    assert sixteen - four == pytest.approx(linear * 1.4375)


def test_less_than_a_cent_is_not_called_nothing() -> None:
    assert plan._amounts({"USD": 0.001, "tokens": 1200.0}) == "under 0.01 USD, 1,200 tokens"
    assert plan._amounts({"USD": 12.5}) == "12.50 USD"


def test_a_rewriter_behind_a_server_costs_money_and_no_hours() -> None:
    priced = amounts("paper", "model.gpt-5-mini.price_in=1.0", "model.gpt-5-mini.price_out=1.0")
    styled = priced["permix-gsm8k-styled"]
    assert (styled.seconds, styled.usd) == (0, pytest.approx(7473 * (160 + 220) / 1e6))


@pytest.mark.parametrize(("name", "title"), [("NVIDIA H100 80GB HBM3", "H100"), ("NVIDIA A100-SXM4-80GB", "A100")])
def test_the_gpu_of_this_machine_counts(name: str, title: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nvidia_smi(tmp_path, name, monkeypatch)
    assert costs.machine(None).device.title == title


def test_a_gpu_that_is_in_no_table_has_to_be_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nvidia_smi(tmp_path, "NVIDIA T400", monkeypatch)
    with pytest.raises(BadInput, match=r"This machine's NVIDIA T400 is not in .* say --gpu, one of cpu, t4"):
        costs.machine(None)


def nvidia_smi(folder: Path, answer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = folder / "nvidia-smi"
    tool.write_text(f"#!/bin/sh\necho '{answer}'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=":")


def test_a_gpu_without_an_estimate_is_refused(tmp_path: Path) -> None:
    assert "are for the estimate: add --estimate" in refused(tmp_path / "home", "plan", "--gpu", "a5000")
