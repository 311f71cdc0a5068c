"""Stage tables on sweeps with made-up scores."""

import csv
import dataclasses
import json
import random
import re
import shutil
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pyarrow.parquet as parquet
import pytest

from permix import files, paper, run_record
from permix import parquet as rows
from permix.errors import BadInput
from permix.pipeline import recipes
from permix.prompting import persona
from permix.publishing import cards
from permix.results.measures import fidelity, preferences
from permix.results.reporting import tabular
from permix.stages import cases, grpo, personagym, preference, sweep, tables
from tests.support import fidelity_records, records

RUNS = (("base", 0), ("rlvr", 0), ("rlvr", 1), ("permix-rlvr", 0), ("permix-rlvr", 1))
CONFIG = tables.Config(
    base_slug="permix-toy", runs=RUNS, benchmarks=records.BENCHMARKS, personas="datasets/permix/permix-personas",
    toy=True, training=(("7", "beta", "0.5"), ("7", "learning_rate", "0.003")),
)  # fmt: skip
ONE_SEED = dataclasses.replace(CONFIG, runs=tuple(run for run in RUNS if run[1] == 0))
Made = tuple[Path, dict[str, Any]]


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return records.inputs_of_tables(tmp_path_factory.mktemp("sweeps"), RUNS, problems=40)


def make(config: tables.Config, inputs: dict[str, Path], out: Path, *, drawn: bool = False) -> Made:
    out.mkdir()
    folders = {name: inputs[name] for name in tables.inputs(config)}
    with nullcontext() if drawn else records.without_drawing():
        return out, tables.run(config, folders, out, context=records.StageContext(config))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def two_seeds(inputs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make(CONFIG, inputs, tmp_path_factory.mktemp("two") / "out")


@pytest.fixture(scope="module")
def one_seed(inputs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make(ONE_SEED, inputs, tmp_path_factory.mktemp("one") / "out", drawn=True)


def line(outcome: Made, name: str, benchmark: str = "arithmetic") -> dict[str, Any]:
    return next(dict(row) for row in outcome[1]["tables"][benchmark] if row["variant"] == name)


def test_a_recipe_asks_for_the_sweeps_it_makes() -> None:
    plan = records.toy_recipe()
    (config,) = tables.configs(plan)
    expected = {sweep.target(c) for c in sweep.configs(plan)} | {grpo.STAGE.target(c) for c in grpo.configs(plan)}
    expected |= {cases.target(c) for c in cases.configs(plan)} | {plan.personas_repo}
    assert set(tables.inputs(config).values()) == expected
    assert "base-seed1" not in tables.inputs(config)
    assert config.toy
    assert tables.target(config) == "datasets/permix/permix-tables"


def test_a_recipe_without_benchmarks_makes_no_tables() -> None:
    assert tables.configs(dataclasses.replace(records.toy_recipe(), benchmarks=())) == []


def test_data_holds_one_row_per_sweep_and_benchmark(two_seeds: Made, inputs: dict[str, Path]) -> None:
    rows = parquet.read_table(two_seeds[0] / "data/ours/test-00000-of-00001.parquet").to_pylist()
    assert [(r["variant"], r["seed"]) for r in rows] == [*RUNS, *RUNS]
    summary = json.loads((inputs["rlvr-seed1"] / "summary.json").read_text())["benchmarks"]["arithmetic"]
    (row,) = (r for r in rows if (r["variant"], r["seed"], r["benchmark"]) == ("rlvr", 1, "arithmetic"))
    names = ["pss", "worst", "best", "mean", "pss_null", "p_value", "pss_corrected", "gap", "worst_quarter", "floor"]
    assert [row[name] for name in names] == [summary["pss"][name] for name in names]
    assert (row["pss_low"], row["pss_high"]) == (summary["pss"]["pss_low"], summary["pss"]["pss_high"])
    assert (row["none"], row["helpful"]) == (summary["accuracy"]["none"], summary["accuracy"]["helpful"])
    assert row["voice_low"] < row["voice"] == summary["voice"] < row["voice_high"]


def test_personas_hold_every_persona_and_control(two_seeds: Made) -> None:
    rows = parquet.read_table(two_seeds[0] / "data/personas/test-00000-of-00001.parquet").to_pylist()
    assert len(rows) == len(RUNS) * len(records.BENCHMARKS) * 18
    assert {r["persona"] for r in rows if r["voice"] is None} == {"none", "helpful"}


def test_a_single_seed_keeps_the_bootstrap_interval_of_its_sweep(one_seed: Made, inputs: dict[str, Path]) -> None:
    interval = json.loads((inputs["rlvr-seed0"] / "summary.json").read_text())["benchmarks"]["arithmetic"]["pss"]
    row = line(one_seed, "rlvr")
    assert (row["pss"], row["pss_low"], row["pss_high"]) == (interval["pss"], interval["pss_low"], interval["pss_high"])
    assert (row["seeds"], row["interval"]) == (1, "bootstrap")


def test_several_seeds_give_their_mean_and_a_t_interval(two_seeds: Made, inputs: dict[str, Path]) -> None:
    folders = [inputs["rlvr-seed0"], inputs["rlvr-seed1"]]
    values = [json.loads((f / "summary.json").read_text())["benchmarks"]["arithmetic"]["pss"]["worst"] for f in folders]
    row = line(two_seeds, "rlvr")
    assert (row["worst"], row["interval"]) == (pytest.approx(sum(values) / 2), "t")
    assert row["worst_high"] - row["worst"] == pytest.approx(12.706 * abs(values[0] - values[1]) / 2)
    assert line(two_seeds, "base")["interval"] == "bootstrap"
    for name in ("worst", "best", "pss", "voice", "recovery", "gap", "truncated"):  # t of two seeds reaches far
        assert 0 <= row[f"{name}_low"] <= row[name] <= row[f"{name}_high"] <= 1, name


def test_clear_effects_are_shown_with_one_seed(one_seed: Made) -> None:
    claims = [c for c in one_seed[1]["claims"] if c["benchmark"] == "arithmetic"]
    verdicts = {(c["measure"], c["first"], c["second"]): c for c in claims}
    assert verdicts["mean", "base", "rlvr"]["verdict"] == "shown"
    assert verdicts["pss", "base", "permix-rlvr"]["verdict"] == "shown"
    assert verdicts["voice", "base", "rlvr"]["verdict"] == "shown"
    assert (verdicts["pss", "base", "permix-rlvr"]["interval"], len(verdicts)) == ("bootstrap over problems", 13)


def test_every_claim_is_printed_with_the_interval_and_the_p_that_decided(one_seed: Made) -> None:
    text, page = tables.as_text(one_seed[1]), tabular.claims_as_markdown(one_seed[1]["claims"])
    row = r"^  arithmetic .* [-+.\d]+ to [-+.\d]+ +(\d\.\d{3}|-)  (?:shown|not shown|the opposite)$"
    matches = re.findall(row, text, re.MULTILINE)
    assert len(matches) == 13
    assert matches.count("-") == 6, "voice and recovery are not tested"
    assert "  p  verdict\n" in text
    assert "p <= 0.05" in " ".join(text.split())
    assert "| p | verdict |" in page
    assert f"| {matches[0]} | " in page


def test_two_seeds_show_less_than_their_differences_suggest(two_seeds: Made) -> None:
    claim = next(c for c in two_seeds[1]["claims"] if (c["measure"], c["second"]) == ("worst", "permix-rlvr"))
    assert (claim["interval"], len(claim["differences"])) == ("t over 2 seeds", 2)


def test_annotations_go_to_the_adapters_that_stage_grpo_makes(two_seeds: Made) -> None:
    annotations = two_seeds[1]["annotations"]
    assert set(annotations) == {grpo.STAGE.target(c) for c in grpo.configs(records.toy_recipe())}
    rows = annotations["permix/permix-toy-rlvr-seed1"]["rows"]
    assert {r["sweep"] for r in rows} == {f"datasets/permix/permix-sweep-permix-toy-rlvr-seed1@{records.SHA}"}
    assert {r["benchmark"] for r in rows} == set(records.BENCHMARKS)
    assert {"worst", "best", "mean", "pss", "pss_null", "none", "voice"} <= {r["metric"] for r in rows}


def test_facts_are_plain_json(two_seeds: Made) -> None:
    assert json.loads(json.dumps(two_seeds[1], allow_nan=False)) == run_record.canonical(two_seeds[1])


def test_the_text_fits_a_terminal_and_says_what_it_is(two_seeds: Made) -> None:
    text = tables.as_text(json.loads(json.dumps(two_seeds[1], sort_keys=True)))
    assert max(map(len, text.splitlines())) <= 120
    assert [part for part in ("PerMix-RLVR", "Toy world", "Student's t over 2 seeds") if part not in text] == []
    head = next(row for row in text.splitlines() if row.startswith("variant"))
    for column in ("worst", "best", "mean", "PSS", "noise", "p", "corr.", "none", "helpful", "recov.", "voice"):
        assert f" {column}" in head


def test_a_legend_explains_the_columns_that_are_shown(two_seeds: Made) -> None:
    terminal, page = tables.as_text(two_seeds[1]), tabular.legend(two_seeds[1], tabular.PAGE)
    assert "corr.: PSS with" in terminal
    assert "gap:" not in terminal
    assert all(f"{column}:" in page for column in ("noise", "corr.", "gap", "mean of run PSS"))


def test_the_longest_names_fit_a_terminal(one_seed: Made) -> None:
    facts = json.loads(json.dumps(one_seed[1]))
    for row in facts["tables"]["arithmetic"]:
        row |= {"title": "PerMix-SeqKD (Llama3.1-70B)", "floor": True}
    assert max(map(len, tables.as_text(facts).splitlines())) <= 121


def test_without_voice_and_toy_nothing_is_said_of_them(tmp_path: Path) -> None:
    config = dataclasses.replace(CONFIG, base_slug="m", runs=(("base", 0),), toy=False)
    inputs = records.sweeps(tmp_path / "in", config.runs, problems=6, toy=False)
    out, facts = make(config, inputs | {"personas": files.PERSONAS}, tmp_path / "out", drawn=True)
    text = tables.as_text(facts)
    assert "Toy" not in text
    assert "in the persona's own voice" not in text
    assert facts["tables"]["arithmetic"][0]["voice"] is None
    assert facts["claims"] == []
    assert (out / "figures" / "summary.png").stat().st_size > 10_000


def test_printed_tables_hold_the_same_numbers(two_seeds: Made) -> None:
    folder = two_seeds[0] / "tables"
    with (folder / "arithmetic.csv").open() as file:
        rows = {row["variant"]: row for row in csv.DictReader(file)}
    for name, row in rows.items():
        assert float(row["worst"]) == line(two_seeds, name)["worst"]
    worst = f"{line(two_seeds, 'rlvr')['worst']:.3f}"
    for ending in ("md", "tex"):
        assert any("RLVR" in row and worst in row for row in (folder / f"arithmetic.{ending}").read_text().splitlines())
    sheets = {"variants", "training", "pools", "theory", "theory-personas", "statements"}
    sheets |= {f"models-{b}" for b in records.BENCHMARKS}
    assert {path.stem for path in folder.iterdir()} == {*records.BENCHMARKS, *sheets}


JUDGED = dataclasses.replace(ONE_SEED, judged=True, preference="datasets/permix/permix-preference-a-vs-b", toy=False)


@pytest.fixture(scope="module")
def judgements(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """PersonaGym scores of every variant, in which each loses one point to the one before, and a preference."""
    folder, folders = tmp_path_factory.mktemp("judged"), {}
    rng = random.Random(0)
    questions = [(member.key, task) for member in persona.bundled("eval") for task in personagym.questions.TASKS]
    first = {(judge, *key): rng.randint(3, 5) for judge in ("one", "two") for key in questions}
    reply = {"model": "m", "status": "scored", "retries": 0, "question_writer": "w", "raw": "{}", "answer": "Well!"}
    for number, (name, seed) in enumerate(JUDGED.runs):
        table = [
            {
                "question_id": f"{persona_key}|{task}", "persona": persona_key, "task": task, "judge": judge,
                "score": score - number,
            }
            | reply
            for (judge, persona_key, task), score in first.items()
        ]  # fmt: skip
        target = folders[f"personagym/{name}-seed{seed}"] = folder / name
        files.write_json(target / "summary.json", fidelity.of_scores(table, ()))
        columns = dict.fromkeys(table[0], "string") | {"score": "float32"}
        rows.write(table, columns | {"retries": "int32"}, target / "data/scores/test-00000-of-00001.parquet")
    preferred = [
        {"problem_id": f"p{n}", "persona": "lawyer", "order": order, "judge": "one", "score": 1.0}
        | reply
        | {"first": "one", "second": "another"}
        for n in range(6)
        for order in preference.ORDERS
    ]
    summary = {"first": "x-base", "second": "x-rlvr", "judges": preferences.of_rows(preferred)}
    files.write_json(folder / "preference" / "summary.json", summary)
    return folders | {"preference": folder / "preference"}


def test_judges_scores_stand_in_all_pages(inputs: dict[str, Path], judgements: dict[str, Path], tmp_path: Path) -> None:
    out, facts = make(JUDGED, {**inputs, **judgements}, tmp_path / "out")
    with (out / "tables" / "personagym.csv").open() as file:
        scores = {row["variant"]: float(row["persona consistency"]) for row in csv.DictReader(file)}
    assert list(scores) == ["Base", "RLVR", "PerMix-RLVR"]
    assert scores["Base"] > scores["RLVR"] > scores["PerMix-RLVR"]
    assert line((out, facts), "rlvr")["persona_consistency"] == pytest.approx(scores["RLVR"], abs=5e-4)
    assert "persona_consistency" in (out / "figures" / "tradeoff.csv").read_text().splitlines()[0]
    by_quote = {row["quote"]: row["ours"] for row in facts["statements"]}
    lost = by_quote["RLVR attenuates persona fidelity"]
    assert (lost["verdict"], lost["inside_noise"]) == ("holds", False)
    assert "one,x-base," in (out / "tables" / "preference.csv").read_text()
    page = (out / "report.html").read_text()
    assert "Persona fidelity by PersonaGym" in page
    assert "Which model stays more in character" in page


def test_other_judges_scores_are_refused(inputs: dict[str, Path], judgements: dict[str, Path], tmp_path: Path) -> None:
    copy = shutil.copytree(judgements["personagym/rlvr-seed0"], tmp_path / "other")
    summary = json.loads((copy / "summary.json").read_text())
    summary["judges"].pop("one")
    files.write_json(copy / "summary.json", summary)
    with pytest.raises(BadInput, match="PersonaGym scores of base-seed0 and rlvr-seed0 differ in judges: make both"):
        make(JUDGED, {**inputs, **judgements, "personagym/rlvr-seed0": copy}, tmp_path / "out")


def test_a_recipe_with_judges_asks_for_their_scores() -> None:
    plan = records.toy_recipe()
    plan = dataclasses.replace(plan, tables={**plan.tables, **fidelity_records.TABLES})
    (config,) = tables.configs(plan)
    expected = {step.target(c) for step in (personagym, preference) for c in step.configs(plan)}
    assert expected < set(tables.inputs(config).values())


def test_without_a_base_one_sentence_says_what_is_left_out(inputs: dict[str, Path], tmp_path: Path) -> None:
    config = dataclasses.replace(CONFIG, runs=(("rlvr", 0), ("permix-rlvr", 0)))
    _, facts = make(config, inputs, tmp_path / "out")
    assert facts["theory"] == []
    assert line((tmp_path, facts), "rlvr")["recovery_base"] is None
    assert {(c["first"], c["second"]) for c in facts["claims"]} == {("rlvr", "permix-rlvr")}
    assert "No sweep of the base: " in tables.as_text(facts)


def test_a_sweep_without_the_benchmark_is_refused(inputs: dict[str, Path], tmp_path: Path) -> None:
    config = dataclasses.replace(ONE_SEED, benchmarks=("arithmetic", "gsm8k"))
    with pytest.raises(BadInput, match="has no benchmark 'gsm8k'"):
        make(config, inputs, tmp_path / "out")


def test_sweeps_over_different_problems_are_refused(inputs: dict[str, Path], tmp_path: Path) -> None:
    short = records.sweeps(tmp_path / "in", [("rlvr", 0)], problems=6)
    with pytest.raises(BadInput, match="rlvr-seed0 on arithmetic differ in the number of problems"):
        make(ONE_SEED, {**inputs, **short}, tmp_path / "out")


def test_stock_datasets_reads_the_configs_that_the_card_declares(one_seed: Made, tmp_path: Path) -> None:
    import datasets

    (config,) = tables.configs(records.toy_recipe())
    folder = tmp_path / "permix-tables"
    shutil.copytree(one_seed[0], folder)
    (folder / "README.md").write_text(cards.render("tables", records.record("tables", config, one_seed[1])))
    (folder / "run.json").write_text("{}")
    assert datasets.get_dataset_config_names(str(folder)) == ["ours", "paper", "personas"]
    rows = datasets.load_dataset(str(folder), split="test", cache_dir=str(tmp_path / "cache"))
    assert rows["variant"][:3] == ["base", "rlvr", "permix-rlvr"]
    assert rows.column_names[:2] == ["variant", "title"]


def test_the_paper_config_holds_the_printed_values(one_seed: Made) -> None:
    rows = parquet.read_table(one_seed[0] / "data/paper/test-00000-of-00001.parquet").to_pylist()
    cell_of = {(r["table"], r["row"], r["benchmark"], r["measure"]): r for r in rows if not r["persona"]}
    cell = cell_of["2", "permix-rlvr", "math500", "worst"]
    assert (cell["printed"], cell["value"], cell["persona"]) == (41.0, 0.41, "")
    assert len(rows) == len(paper.numbers())


def test_statements_and_theory_are_among_the_facts(one_seed: Made) -> None:
    by_number = {row["number"]: row for row in one_seed[1]["statements"]}
    assert {row["ours"]["verdict"] for row in by_number.values()} == {"holds", "fails", "not measured"}
    tested = {(row["variant"], row["benchmark"]): row for row in one_seed[1]["theory"]}
    assert set(tested) == {(name, b) for name in ("rlvr", "permix-rlvr") for b in records.BENCHMARKS}
    fit = tested["rlvr", "arithmetic"]["fit"]
    assert fit["shift"] > 0
    assert tested["rlvr", "arithmetic"]["prediction"]["beta"] == 0.5
    page = (one_seed[0] / "tables" / "theory-personas.csv").read_text()
    shifts = {f"{row['persona']},{row['shift']:.2f} [{row['low']:.2f}" for row in fit["personas"]}
    assert len(shifts) == len(fit["personas"])
    assert all(by_number in page.replace('"', "") for by_number in shifts)


def test_equal_sweeps_give_equal_bytes_at_any_cost(one_seed: Made, inputs: dict[str, Path], tmp_path: Path) -> None:
    timed = dict(inputs)
    for name in ("rlvr-seed0", "adapter/rlvr-seed0"):
        timed[name] = shutil.copytree(inputs[name], tmp_path / name)
        config = next(c for c in sweep.configs(records.toy_recipe()) if c.variant == "rlvr")
        files.write_json(timed[name] / "run.json", records.record("sweep", config, {}))
    out, facts = make(ONE_SEED, timed, tmp_path / "out", drawn=True)
    spent = {row["variant"]: row for row in facts["spent"]}
    assert spent["rlvr"]["training_hours"] == spent["rlvr"]["sweep_hours"] == 12.5 / 3600
    assert spent["base"]["sweep_hours"] is None
    assert spent["rlvr"]["sweep_tokens"] == 1234
    assert run_record.describe_files(out) == run_record.describe_files(one_seed[0])


def test_sweeps_of_different_personas_runs_or_settings_are_refused(inputs: dict[str, Path], tmp_path: Path) -> None:
    def changed(name: str, change: Any) -> dict[str, Path]:
        folder = shutil.copytree(inputs["rlvr-seed0"], tmp_path / name)
        summary = json.loads((folder / "summary.json").read_text())
        change(summary["benchmarks"]["arithmetic"])
        (folder / "summary.json").write_text(json.dumps(summary))
        return {**inputs, "rlvr-seed0": folder}

    other = changed("personas", lambda edited: edited["accuracy"].pop("lawyer"))
    with pytest.raises(BadInput, match="base-seed0 and rlvr-seed0 on arithmetic differ in personas: use one recipe"):
        make(ONE_SEED, other, tmp_path / "out1")
    with pytest.raises(BadInput, match="differ in runs"):
        make(ONE_SEED, changed("runs", lambda edited: edited.update(runs=5)), tmp_path / "out2")
    folders = {name: shutil.copytree(inputs[name], tmp_path / name) for name in ("base-seed0", "rlvr-seed0")}
    for number, (name, folder) in enumerate(folders.items()):
        config = next(c for c in sweep.configs(records.toy_recipe()) if c.variant == name.partition("-")[0])
        config = dataclasses.replace(config, temperature=0.5 + number / 2)
        files.write_json(folder / "run.json", records.record("sweep", config, {}))
    with pytest.raises(BadInput, match="differ in the setting temperature"):
        make(ONE_SEED, {**inputs, **folders}, tmp_path / "out3")


def test_settings_of_the_trainers_come_from_the_recipe() -> None:
    (config,) = tables.configs(recipes.load("toy", ["grpo.learning_rate=0.001"]))
    assert ("7", "learning_rate", "0.001") in config.training
    assert ("7", "batch_size", "64") in config.training
    assert not any(key == "save_steps" for _, key, _ in config.training), "what cannot change a result is left out"


def test_every_figure_has_its_numbers_beside_it(one_seed: Made) -> None:
    columns: dict[str, set[str]] = {}
    for path in (one_seed[0] / "figures").iterdir():
        columns.setdefault(path.stem, set()).add(path.suffix)
    assert set(columns) == {"summary", "personas", "lottery", "tradeoff", "styles", "dynamics", "phase"}
    assert all(endings == {".png", ".svg", ".csv"} for endings in columns.values())


def test_the_report_opens_offline(one_seed: Made) -> None:
    page = (one_seed[0] / "report.html").read_text()
    assert "<script" not in page
    assert page.count("data:image/svg+xml;base64,") == 7
    links = re.findall(r'(?:src|href)="([^"#][^"]*)"', page)
    assert {link for link in links if not link.startswith("data:")} == {"https://arxiv.org/abs/2604.08986"}
    parts = ("Proposition 1", "What the paper says", "Cases", "PerMix-RLVR", "toy world", "semiconductor specialist")
    assert [part for part in parts if part not in page] == []


def test_the_recipe_smoke_has_tables() -> None:
    (config,) = tables.configs(recipes.load("smoke"))
    assert config.runs == tuple(recipes.load("smoke").runs())
