"""Stage tables on sweeps with made-up scores."""

import csv
import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow.parquet as parquet
import pytest

from permix import cards, provenance, recipe
from permix.errors import BadInput
from permix.stages import grpo, sweep, tables
from tests import records

RUNS = (("base", 0), ("rlvr", 0), ("rlvr", 1), ("permix-rlvr", 0), ("permix-rlvr", 1))
CONFIG = tables.Config(base_slug="permix-toy", runs=RUNS, benchmarks=records.BENCHMARKS, toy=True)
ONE_SEED = dataclasses.replace(CONFIG, runs=tuple(run for run in RUNS if run[1] == 0))
Made = tuple[Path, dict[str, Any]]


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return records.sweeps(tmp_path_factory.mktemp("sweeps"), RUNS, problems=40)


def make(config: tables.Config, inputs: dict[str, Path], out: Path) -> Made:
    out.mkdir()
    wanted = {name: inputs[name] for name in tables.inputs(config)}
    return out, tables.run(config, wanted, out, parts=records.Parts(config))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def two_seeds(inputs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make(CONFIG, inputs, tmp_path_factory.mktemp("two") / "out")


@pytest.fixture(scope="module")
def one_seed(inputs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make(ONE_SEED, inputs, tmp_path_factory.mktemp("one") / "out")


def line(made: Made, name: str, benchmark: str = "arithmetic") -> dict[str, Any]:
    return next(dict(found) for found in made[1]["tables"][benchmark] if found["variant"] == name)


def test_a_recipe_asks_for_the_sweeps_it_makes() -> None:
    plan = records.toy_recipe()
    (config,) = tables.configs(plan)
    assert set(tables.inputs(config).values()) == {sweep.target(c) for c in sweep.configs(plan)}
    assert "base-seed1" not in tables.inputs(config) and config.toy
    assert tables.target(config) == "datasets/permix/permix-tables"


def test_a_recipe_without_benchmarks_makes_no_tables() -> None:
    assert tables.configs(dataclasses.replace(records.toy_recipe(), benchmarks=())) == []


def test_data_holds_one_row_per_sweep_and_benchmark(two_seeds: Made, inputs: dict[str, Path]) -> None:
    rows = parquet.read_table(two_seeds[0] / "data/ours/test-00000-of-00001.parquet").to_pylist()
    assert [(r["variant"], r["seed"]) for r in rows] == [*RUNS, *RUNS]
    found = json.loads((inputs["rlvr-seed1"] / "summary.json").read_text())["benchmarks"]["arithmetic"]
    (row,) = (r for r in rows if (r["variant"], r["seed"], r["benchmark"]) == ("rlvr", 1, "arithmetic"))
    for name in (
        "pss",
        "worst",
        "best",
        "mean",
        "pss_null",
        "p_value",
        "pss_corrected",
        "gap",
        "worst_quarter",
        "floor",
    ):
        assert row[name] == found["pss"][name]
    assert (row["pss_low"], row["pss_high"]) == (found["pss"]["pss_low"], found["pss"]["pss_high"])
    assert (row["none"], row["helpful"]) == (found["accuracy"]["none"], found["accuracy"]["helpful"])
    assert row["voice_low"] < row["voice"] == found["voice"] < row["voice_high"]


def test_personas_hold_every_persona_and_control(two_seeds: Made) -> None:
    rows = parquet.read_table(two_seeds[0] / "data/personas/test-00000-of-00001.parquet").to_pylist()
    assert len(rows) == len(RUNS) * len(records.BENCHMARKS) * 18
    assert {r["persona"] for r in rows if r["voice"] is None} == {"none", "helpful"}


def test_a_single_seed_keeps_the_bootstrap_interval_of_its_sweep(one_seed: Made, inputs: dict[str, Path]) -> None:
    found = json.loads((inputs["rlvr-seed0"] / "summary.json").read_text())["benchmarks"]["arithmetic"]["pss"]
    made = line(one_seed, "rlvr")
    assert (made["pss"], made["pss_low"], made["pss_high"]) == (found["pss"], found["pss_low"], found["pss_high"])
    assert (made["seeds"], made["interval"]) == (1, "bootstrap")


def test_several_seeds_give_their_mean_and_a_t_interval(two_seeds: Made, inputs: dict[str, Path]) -> None:
    folders = [inputs["rlvr-seed0"], inputs["rlvr-seed1"]]
    values = [json.loads((f / "summary.json").read_text())["benchmarks"]["arithmetic"]["pss"]["worst"] for f in folders]
    made = line(two_seeds, "rlvr")
    assert made["worst"] == pytest.approx(sum(values) / 2) and made["interval"] == "t"
    assert made["worst_high"] - made["worst"] == pytest.approx(12.706 * abs(values[0] - values[1]) / 2)
    assert line(two_seeds, "base")["interval"] == "bootstrap"


def test_clear_effects_are_shown_with_one_seed(one_seed: Made) -> None:
    verdicts = {
        (c["measure"], c["first"], c["second"]): c for c in one_seed[1]["claims"] if c["benchmark"] == "arithmetic"
    }
    assert verdicts["mean", "base", "rlvr"]["verdict"] == "shown"
    assert verdicts["pss", "base", "permix-rlvr"]["verdict"] == "shown"
    assert verdicts["voice", "base", "rlvr"]["verdict"] == "shown"
    assert verdicts["pss", "base", "permix-rlvr"]["interval"] == "bootstrap over problems"
    assert len(verdicts) == 10


def test_two_seeds_show_less_than_their_differences_suggest(two_seeds: Made) -> None:
    claim = next(c for c in two_seeds[1]["claims"] if (c["measure"], c["second"]) == ("worst", "permix-rlvr"))
    assert claim["interval"] == "t over 2 seeds" and len(claim["differences"]) == 2


def test_annotations_go_to_the_adapters_that_stage_grpo_makes(two_seeds: Made) -> None:
    found = two_seeds[1]["annotations"]
    assert set(found) == {grpo.target(c) for c in grpo.configs(records.toy_recipe())}
    rows = found["permix/permix-toy-rlvr-seed1"]["rows"]
    assert {r["sweep"] for r in rows} == {f"datasets/permix/permix-sweep-permix-toy-rlvr-seed1@{records.SHA}"}
    assert {r["benchmark"] for r in rows} == set(records.BENCHMARKS)
    assert {"worst", "best", "mean", "pss", "pss_null", "none", "voice"} <= {r["metric"] for r in rows}


def test_facts_are_plain_json(two_seeds: Made) -> None:
    assert json.loads(json.dumps(two_seeds[1], allow_nan=False)) == provenance.canonical(two_seeds[1])


def test_the_text_fits_a_terminal_and_says_what_it_is(two_seeds: Made) -> None:
    text = tables.as_text(json.loads(json.dumps(two_seeds[1], sort_keys=True)))
    assert max(map(len, text.splitlines())) <= 120
    assert "PerMix-RLVR" in text and "Toy world" in text and "Student's t over 2 seeds" in text
    head = next(row for row in text.splitlines() if row.startswith("variant"))
    for column in ("worst", "best", "mean", "PSS", "noise", "p", "corr.", "gap", "none", "helpful", "voice"):
        assert f" {column}" in head


def test_the_longest_names_fit_a_terminal(one_seed: Made) -> None:
    facts = json.loads(json.dumps(one_seed[1]))
    for found in facts["tables"]["arithmetic"]:
        found |= {"title": "PerMix-SeqKD (Llama3.1-70B)", "floor": True}
    assert max(map(len, tables.as_text(facts).splitlines())) <= 121


def test_without_voice_and_toy_nothing_is_said_of_them(tmp_path: Path) -> None:
    config = tables.Config(base_slug="m", runs=(("base", 0),), benchmarks=records.BENCHMARKS, toy=False)
    inputs = records.sweeps(tmp_path / "in", config.runs, problems=6, toy=False)
    out, facts = make(config, inputs, tmp_path / "out")
    text = tables.as_text(facts)
    assert "Toy" not in text and "in the persona's own voice" not in text
    assert facts["tables"]["arithmetic"][0]["voice"] is None and facts["claims"] == []
    assert (out / "figures" / "summary.png").stat().st_size > 10_000


def test_printed_tables_hold_the_same_numbers(two_seeds: Made) -> None:
    folder = two_seeds[0] / "tables"
    with (folder / "arithmetic.csv").open() as file:
        rows = {row["variant"]: row for row in csv.DictReader(file)}
    for name, row in rows.items():
        assert float(row["worst"]) == line(two_seeds, name)["worst"]
    worst = f"{line(two_seeds, 'rlvr')['worst']:.3f}"
    for ending in ("md", "tex"):
        assert any(
            "RLVR" in text and worst in text for text in (folder / f"arithmetic.{ending}").read_text().splitlines()
        )
    assert {path.stem for path in folder.iterdir()} == set(records.BENCHMARKS)


def test_the_same_sweeps_give_the_same_bytes(one_seed: Made, inputs: dict[str, Path], tmp_path: Path) -> None:
    again, _ = make(ONE_SEED, inputs, tmp_path / "out")
    assert provenance.describe_files(again) == provenance.describe_files(one_seed[0])


def test_a_sweep_without_the_benchmark_is_refused(inputs: dict[str, Path], tmp_path: Path) -> None:
    config = dataclasses.replace(ONE_SEED, benchmarks=("arithmetic", "gsm8k"))
    with pytest.raises(BadInput, match="has no benchmark 'gsm8k'"):
        make(config, inputs, tmp_path / "out")


def test_sweeps_over_different_problems_are_refused(inputs: dict[str, Path], tmp_path: Path) -> None:
    short = records.sweeps(tmp_path / "in", [("rlvr", 0)], problems=6)
    with pytest.raises(BadInput, match="answer different problems"):
        make(ONE_SEED, {**inputs, **short}, tmp_path / "out")


def test_stock_datasets_reads_the_configs_that_the_card_declares(one_seed: Made, tmp_path: Path) -> None:
    import datasets

    (config,) = tables.configs(records.toy_recipe())
    folder = tmp_path / "permix-tables"
    shutil.copytree(one_seed[0], folder)
    (folder / "README.md").write_text(cards.render("tables", records.record("tables", config, one_seed[1])))
    (folder / "run.json").write_text("{}")
    assert datasets.get_dataset_config_names(str(folder)) == ["ours", "personas"]
    rows = datasets.load_dataset(str(folder), split="test", cache_dir=str(tmp_path / "cache"))
    assert rows["variant"][:3] == ["base", "rlvr", "permix-rlvr"] and rows.column_names[:2] == ["variant", "title"]


def test_the_recipe_smoke_has_tables() -> None:
    (config,) = tables.configs(recipe.load("smoke"))
    assert len(tables.inputs(config)) == len(recipe.load("smoke").runs())
