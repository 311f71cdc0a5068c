"""The report: everything a tables artifact holds, on one HTML page that opens offline and prints."""

import base64
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2

from permix import files
from permix.results.reporting import tabular
from permix.results.reporting.paper_tables import Sheet

FIGURES = {
    "summary": "Accuracy under each persona, PSS with its noise floor, voice (the paper's Figure 2)",
    "lottery": "The persona lottery: accuracy to expect from the best of k personas (the paper's Figure 1)",
    "styles": "Which method answers come by, under each persona (the paper's Figure 3, where styles can be read off)",
    "tradeoff": "Robustness against fidelity",
    "dynamics": "Learning dynamics: reward, and probes of worst, PSS and fidelity",
    "personas": "Accuracy of every variant under each persona",
    "phase": "How large the effects are follows from how the toy world was designed: five bases whose answers without "
    "a persona are weak more or less often, three seeds of each training (recorded, not of this experiment)",
}


def page(
    title: str, facts: Mapping[str, Any], sheets: Sequence[Sheet], cases: Sequence[Mapping[str, Any]], folder: Path
) -> str:
    """The page from the facts of stage tables, its sheets, the rows of the cases, and the folder of the figures."""
    numbered: dict[int, list[Mapping[str, Any]]] = {}
    for row in cases:
        numbered.setdefault(row["case"], []).append(row)
    benchmarks = [
        Sheet(name, name, list(tabular.PAGE), [[cell(line) for cell in tabular.PAGE.values()] for line in lines])
        for name, lines in facts["tables"].items()
    ]
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(files.CARDS), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True
    )
    environment.filters["unbroken"] = _unbroken
    return environment.get_template("_report.html").render(
        title=title,
        toy=facts["toy"],
        figures=[(name, text, _inline(folder / f"{name}.svg")) for name, text in FIGURES.items() if _is(folder, name)],
        benchmarks=benchmarks,
        legend=tabular.legend(facts, tabular.PAGE),
        sheets=sheets,
        cases=list(numbered.values()),
    )


def _unbroken(cell: str) -> str:
    """The cell with its intervals, [a, b], each on one line."""
    return re.sub(r"\[[^\]]*\]", lambda found: found.group().replace(" ", "\N{NO-BREAK SPACE}"), cell)


def _is(folder: Path, name: str) -> bool:
    return (folder / f"{name}.svg").is_file()


def _inline(path: Path) -> str:
    return f"data:image/svg+xml;base64,{base64.b64encode(path.read_bytes()).decode()}"
