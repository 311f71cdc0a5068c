"""The report: a tables artifact as one HTML page that opens offline and prints."""

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
    "lottery": "The persona lottery: expected accuracy of the best of k personas (the paper's Figure 1)",
    "styles": "The method of the answers under each persona (the paper's Figure 3, with the toy world's styles)",
    "tradeoff": "Robustness against fidelity",
    "dynamics": "Learning dynamics: reward, and probes of worst, PSS and fidelity",
    "personas": "Accuracy of every variant under each persona",
    "phase": "The design of the toy world sets the size of each effect: five bases with different shares of weak "
    "answers without a persona, three seeds of each training (recorded earlier, not in this experiment)",
}


def page(
    title: str, facts: Mapping[str, Any], sheets: Sequence[Sheet], cases: Sequence[Mapping[str, Any]], folder: Path
) -> str:
    """Return the page from the facts of stage tables, its sheets, the rows of the cases, and the figures' folder."""
    numbered: dict[int, list[Mapping[str, Any]]] = {}
    for row in cases:
        numbered.setdefault(row["case"], []).append(row)
    benchmarks = [Sheet(name, name, list(tabular.PAGE), tabular.cells(rows)) for name, rows in facts["tables"].items()]
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(files.CARDS), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True
    )
    environment.filters["unbroken"] = _unbroken
    drawings = {name: folder / f"{name}.svg" for name in FIGURES}
    figures = [(name, FIGURES[name], _inline(path)) for name, path in drawings.items() if path.is_file()]
    values = {"title": title, "toy": facts["toy"], "figures": figures, "benchmarks": benchmarks, "sheets": sheets}
    values |= {"legend": tabular.legend(facts, tabular.PAGE), "cases": list(numbered.values())}
    return environment.get_template("_report.html").render(values)


def _unbroken(cell: str) -> str:
    """Return the cell with non-breaking spaces inside each interval [a, b]."""
    return re.sub(r"\[[^\]]*\]", lambda interval: interval.group().replace(" ", "\N{NO-BREAK SPACE}"), cell)


def _inline(path: Path) -> str:
    return f"data:image/svg+xml;base64,{base64.b64encode(path.read_bytes()).decode()}"
