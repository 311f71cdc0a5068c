"""permix.results.reporting.paper_tables: the paper's values beside ours, and the three ways they are written."""

import csv
from pathlib import Path
from typing import Any

import pytest

from permix import paper
from permix.prompting import persona
from permix.results.reporting import paper_tables
from permix.results.reporting.paper_tables import Sheet


def line(variant: str = "rlvr", benchmark: str = "math500", worst: float = 0.35, half: float = 0.02) -> dict[str, Any]:
    values = {"worst": worst, "best": 0.5, "mean": 0.45, "pss": worst / 0.5, "none": 0.47, "voice": None}
    ends = {f"{k}{e}": v + d for k, v in values.items() if v for e, d in (("_low", -half), ("_high", half))}
    more = {"title": variant.upper(), "worst_minus_none": worst - 0.47, "tokens_out": 200.4}
    return {"variant": variant, "benchmark": benchmark, **values, **ends, **more}


def test_the_papers_value_stands_beside_the_same_cell() -> None:
    cells = paper_tables.beside(line(), paper.BASE)
    assert (cells["worst"], cells["best"]["paper"]) == ({"paper": 0.34, "inside_noise": True}, 0.496)
    assert cells["pss"]["paper"] == 0.675


def test_a_difference_beyond_the_noise_is_not_marked() -> None:
    assert not paper_tables.beside(line(worst=0.40), paper.BASE)["worst"]["inside_noise"]
    sheet = paper_tables.variants([line(worst=0.40), line("permix-rlvr", worst=0.41)], paper.BASE)
    cells = [dict(zip(sheet.columns, row, strict=False)) for row in sheet.rows]
    assert sheet.columns[2:4] == ["worst", "paper"]
    assert [row[2:4] for row in sheet.rows] == [["0.400", "0.340"], ["0.410", "0.410≈"]]
    assert cells[0]["tokens"] == "200"


@pytest.mark.parametrize("slug", ["permix-toy", "Qwen3-0.6B", "Llama-3.1-70B-Instruct"])
def test_another_base_model_gets_no_value_of_the_paper(slug: str) -> None:
    assert paper_tables.beside(line(), slug) == {}
    assert "paper" not in paper_tables.variants([line()], slug).columns


def test_a_benchmark_or_variant_that_the_paper_lacks_gets_none() -> None:
    assert paper_tables.beside(line(benchmark="arithmetic"), paper.BASE) == {}
    assert paper_tables.beside(line("seqkd-toy"), paper.BASE) == {}


MODELS = {"base": 0.42, "google/gemma-3-1b-it": 0.3, "org/other": 0.4}


def sheets_of_models(base_slug: str) -> dict[str, Sheet]:
    everyone = (*persona.CONTROLS, *persona.bundled("eval"))
    people = [
        {"variant": name, "benchmark": b, "persona": p.key, "accuracy": value}
        | {"accuracy_low": value - 0.02, "accuracy_high": value + 0.02}
        for b in ("math500", "gsm8k")
        for name, value in MODELS.items()
        for p in everyone
    ]
    people += [row | {"variant": "rlvr"} for row in people[:1]]
    lines = [line(name, b) for name in MODELS for b in ("math500", "gsm8k")]
    return {sheet.name: sheet for sheet in paper_tables.models(people, lines, base_slug)}


def test_every_public_model_stands_beside_tables_8_and_9() -> None:
    sheets = sheets_of_models("Llama-3.1-8B-Instruct")
    assert list(sheets) == ["models-math500", "models-gsm8k"]
    assert sheets["models-math500"].title.endswith("Table 8)")
    assert sheets["models-math500"].columns == ["persona", "Llama-3.1-8B-Instruct", "gemma-3-1b-it", "other"]
    rows = {row[0]: row[1:] for row in sheets["models-math500"].rows}
    assert (rows["easygoing"], rows["none"][0]) == (["0.420 (0.441≈)", "0.300 (0.230)", "0.400"], "0.420")
    assert (rows["kindergarten"][0], rows["PSS"][2]) == ("0.420 (0.322)", "0.700")
    assert rows["PSS"][0].startswith("0.700 (")
    assert "In brackets" in sheets["models-math500"].note
    assert sheets["models-gsm8k"].rows[-1][1] == "0.700 (0.956)", "Table 2 has the base's"
    assert sheets["models-gsm8k"].rows[-1][2:] == ["0.700", "0.700"]
    assert sheets_of_models("permix-toy")["models-math500"].rows[2][1] == "0.420"
    assert paper_tables.models([], [], "permix-toy") == []


def test_judges_scores_stand_beside_table_10() -> None:
    scores = {"persona_consistency": 3.2, "mean": 2.9}
    ends = {f"{key}{end}": value + d for key, value in scores.items() for end, d in (("_low", -0.2), ("_high", 0.2))}
    row = {"variant": "base", "title": "Base", "benchmark": "personagym", "judges": "one, two", **scores, **ends}
    sheet = paper_tables.personagym([row], paper.BASE)
    assert sheet
    assert sheet.columns == ["variant", "persona consistency", "mean"]
    assert sheet.rows == [["Base", "3.200 (3.190≈)", "2.900 (2.760≈)"]]
    assert "one, two" in sheet.note
    assert paper_tables.personagym([], paper.BASE) is None


def test_a_preference_stands_beside_the_one_number_of_table_1() -> None:
    rate = {"value": 0.4, "low": 0.35, "high": 0.45}
    judge = dict.fromkeys(("first_wr", "second_wr", "first_wr_no_tie", "second_wr_no_tie", "net_margin"), rate)
    judge |= {"first_wins": 4, "second_wins": 4, "ties": 2}
    summary = {"first": "Llama-3.1-8B-Instruct-base", "second": "Qwen3-32B-base", "judges": {"deepseek-v3.2": judge}}
    rows = paper_tables.preference(summary).rows
    assert rows[0][1:] == ["Llama-3.1-8B-Instruct-base", *["0.400 [0.35, 0.45]"] * 3, "0.502"]
    assert (rows[1][4:], rows[2][1:3]) == (["-0.400 [-0.45, -0.35]", "-"], ["tie", "0.200"])
    judge["first_wr"] = {"value": 0.48, "low": 0.45, "high": 0.51}
    assert paper_tables.preference(summary).rows[0][-1] == "0.502≈"


def test_settings_stand_beside_the_papers() -> None:
    sheet = paper_tables.training([("7", "num_generations", "4"), ("7", "beta", "0.04")])
    rows = {row[1]: row[2:] for row in sheet.rows}
    assert (rows["num_generations"], rows["beta"]) == (["8", "4"], ["-", "0.04"])
    assert rows["learning_rate"] == ["not in the public text", "-"]
    assert {row[0] for row in sheet.rows} == {"7"}, "a trainer that the recipe does not use is left out"


def test_both_pools_are_whole() -> None:
    sheet = paper_tables.pools(persona.bundled("train"), persona.bundled("eval"))
    assert len(sheet.rows) == 41
    assert [row[0] for row in sheet.rows].count("train") == 25


def test_a_sheet_is_the_same_in_markdown_csv_and_latex(tmp_path: Path) -> None:
    paper_tables.write(Sheet("s", "S", ["a", "50 %"], [["x|y", "0.340≈"], ["p_1", "<1"]], "A note."), tmp_path)
    assert (tmp_path / "s.md").read_text().splitlines()[2] == "| x\\|y | 0.340≈ |"
    assert (tmp_path / "s.md").read_text().endswith("\nA note.\n")
    with (tmp_path / "s.csv").open(newline="") as file:
        assert list(csv.reader(file)) == [["a", "50 %"], ["x|y", "0.340≈"], ["p_1", "<1"]]
    latex = (tmp_path / "s.tex").read_text()
    assert r"a & 50 \% \\" in latex
    assert r"x|y & 0.340$\approx$ \\" in latex
    assert r"p\_1 & $<$1 \\" in latex
