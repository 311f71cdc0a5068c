"""The numbers of measured tables in README and guides are those of the result files beside them.

A comment before a table names the file and the columns of each cell: `<!-- FILE: title | worst | pss [pss_low] -->`.
"""

import csv
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "pipelines" / "guides" / "real-models"
PAGES = [ROOT / "README.md", *sorted((ROOT / "pipelines" / "guides").glob("*.md"))]
MARK = re.compile(r"<!-- (?P<file>[\w.-]+\.csv): (?P<columns>.*?) -->\n+\|.*\n\|[-| ]+\n(?P<rows>(?:\|.*\n)+)")
TABLES = [
    pytest.param(match, id=f"{page.name}-{match['file']}")
    for page in PAGES
    for match in MARK.finditer(page.read_text(encoding="utf-8"))
]


def cell(template: str, row: dict[str, str]) -> str:
    """Return the cell of a table for the column names in `template`; shares have three digits."""

    def number(name: re.Match[str]) -> str:
        text = row[name[0]]
        share = re.fullmatch(r"[01]\.\d+", text)
        return f"{float(text):.3f}".removeprefix("0") if share else text

    return re.sub(r"\w+", number, template)


@pytest.mark.parametrize("table", TABLES)
def test_a_table_shows_the_numbers_of_its_file(table: re.Match[str]) -> None:
    with (RESULTS / table["file"]).open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    expected = [[cell(template, row) for template in table["columns"].split(" | ")] for row in rows]
    shown = [[text.strip() for text in line.strip("|\n").split("|")] for line in table["rows"].splitlines()]
    assert shown == expected


def test_every_result_file_is_shown() -> None:
    shown = {table.values[0]["file"] for table in TABLES}  # type: ignore[index]
    assert {path.name for path in RESULTS.glob("*.csv")} == shown


def test_the_results_are_small() -> None:
    assert sum(path.stat().st_size for path in RESULTS.rglob("*")) <= 400_000
