"""permix.results.paper_tables: the paper's values beside ours, and the three ways they are written."""

import csv
from pathlib import Path
from typing import Any

import pytest

from permix import paper, persona
from permix.results import paper_tables
from permix.results.paper_tables import Sheet


def line(variant: str = "rlvr", benchmark: str = "math500", worst: float = 0.35, half: float = 0.02) -> dict[str, Any]:
    values = {"worst": worst, "best": 0.5, "mean": 0.45, "pss": worst / 0.5, "none": 0.47, "voice": None}
    ends = {f"{k}{e}": v + d for k, v in values.items() if v for e, d in (("_low", -half), ("_high", half))}
    more = {"title": variant.upper(), "worst_minus_none": worst - 0.47, "tokens_out": 200.4}
    return {"variant": variant, "benchmark": benchmark, **values, **ends, **more}


def test_the_papers_value_stands_beside_the_same_cell() -> None:
    found = paper_tables.beside(line(), paper.BASE)
    assert found["worst"] == {"paper": 0.34, "inside_noise": True}
    assert found["best"]["paper"] == 0.496 and found["pss"]["paper"] == 0.675


def test_a_difference_beyond_the_noise_is_not_marked() -> None:
    assert not paper_tables.beside(line(worst=0.40), paper.BASE)["worst"]["inside_noise"]
    sheet = paper_tables.variants([line(worst=0.40), line("permix-rlvr", worst=0.41)], paper.BASE)
    cells = [dict(zip(sheet.columns, row, strict=False)) for row in sheet.rows]
    assert sheet.columns[2:4] == ["worst", "paper"]
    assert [row[2:4] for row in sheet.rows] == [["0.400", "0.340"], ["0.410", "0.410≈"]] and cells[0]["tokens"] == "200"


@pytest.mark.parametrize("slug", ["permix-toy", "Qwen3-0.6B", "Llama-3.1-70B-Instruct"])
def test_another_base_model_gets_no_value_of_the_paper(slug: str) -> None:
    assert paper_tables.beside(line(), slug) == {}
    assert "paper" not in paper_tables.variants([line()], slug).columns


def test_a_benchmark_or_variant_that_the_paper_lacks_gets_none() -> None:
    assert paper_tables.beside(line(benchmark="arithmetic"), paper.BASE) == {}
    assert paper_tables.beside(line("seqkd-toy"), paper.BASE) == {}


def test_a_public_model_stands_beside_tables_8_and_9() -> None:
    people = [
        {"variant": "base", "benchmark": b, "persona": p.key, "accuracy": 0.4}
        for b in ("math500", "gsm8k")
        for p in (*persona.CONTROLS, *persona.bundled("eval"))
    ]
    sheet = paper_tables.base_personas(people, "Llama-3.1-8B-Instruct")
    assert sheet is not None and sheet.columns == ["persona", "math500", "paper", "gsm8k"]
    assert {row[0]: row[2] for row in sheet.rows}["kindergarten"] == "0.322"
    assert {row[0]: row[2] for row in sheet.rows}["none"] == "-"
    other = paper_tables.base_personas(people, "permix-toy")
    assert other is not None and other.columns == ["persona", "math500", "gsm8k"]
    assert paper_tables.base_personas([], "permix-toy") is None


def test_settings_stand_beside_the_papers() -> None:
    sheet = paper_tables.training([("7", "num_generations", "4"), ("7", "beta", "0.04")])
    rows = {row[1]: row[2:] for row in sheet.rows}
    assert rows["num_generations"] == ["8", "4"] and rows["beta"] == ["-", "0.04"]
    assert rows["learning_rate"] == ["not in the public text", "-"]
    assert {row[0] for row in sheet.rows} == {"7"}, "a trainer that the recipe does not use is left out"


def test_both_pools_are_whole() -> None:
    sheet = paper_tables.pools(persona.bundled("train"), persona.bundled("eval"))
    assert len(sheet.rows) == 41 and [row[0] for row in sheet.rows].count("train") == 25


def test_a_sheet_is_the_same_in_markdown_csv_and_latex(tmp_path: Path) -> None:
    paper_tables.write(Sheet("s", "S", ["a", "50 %"], [["x|y", "0.340≈"], ["p_1", "<1"]], "A note."), tmp_path)
    assert (tmp_path / "s.md").read_text().splitlines()[2] == "| x\\|y | 0.340≈ |"
    assert (tmp_path / "s.md").read_text().endswith("\nA note.\n")
    with (tmp_path / "s.csv").open(newline="") as file:
        assert list(csv.reader(file)) == [["a", "50 %"], ["x|y", "0.340≈"], ["p_1", "<1"]]
    latex = (tmp_path / "s.tex").read_text()
    assert r"a & 50 \% \\" in latex and r"x|y & 0.340$\approx$ \\" in latex and r"p\_1 & $<$1 \\" in latex
