"""The paper's printed numbers as data (arXiv 2604.08986, CC BY 4.0; README.md has the attribution)."""

import functools
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from permix.paper import variants

BASE = "Llama-3.1-8B-Instruct"
"""The base model of the controlled experiment, Tables 2-4 and 10-12."""
PROBLEMS = {"gsm8k": 1319, "math500": 500, "aime2024": 30}
PROBLEMS |= {"livecodebench-easy": 142, "livecodebench-medium": 168, "livecodebench-hard": 90}
"""Sizes of the benchmarks; those of LiveCodeBench are inferred from the granularity of the printed cells."""
RUNS = 5
JUDGEMENTS = 32
"""Scores behind one PersonaGym cell, inferred from its granularity: 16 personas x 2 judges."""
FAMILIES = {"Qwen3": "Qwen3-", "Llama3": "Llama-3", "Gemma3": "Gemma3-"}
_SLUGS = {"Meta-Llama": "Llama", "gemma-3": "Gemma3", "-Instruct": "", "-it": ""}


@dataclass(frozen=True)
class PrintedNumber:
    """A table's number of a variant or model: `printed` as in the paper, `value` a share, except scores and PSS."""

    table: str
    row: str
    persona: str
    benchmark: str
    measure: str
    printed: float
    value: float


@functools.cache
def printed(name: str) -> dict[str, Any]:
    """Return the content of one file of this folder."""
    content: dict[str, Any] = json.loads((Path(__file__).parent / f"{name}.json").read_text(encoding="utf-8"))
    return content


@functools.cache
def numbers() -> tuple[PrintedNumber, ...]:
    """Return every printed number of the result tables."""
    return tuple(_numbers())


@functools.cache
def values() -> dict[tuple[str, str, str], float]:
    """Return {(row, benchmark, measure): value} of the controlled experiment and the public models' PSS."""
    return {(n.row, n.benchmark, n.measure): n.value for n in numbers() if not n.persona}


@functools.cache
def accuracies() -> dict[tuple[str, str, str], float]:
    """Return {(model, benchmark, persona): accuracy} of Tables 8 and 9."""
    return {(n.row, n.benchmark, n.persona): n.value for n in numbers() if n.measure == "accuracy"}


def family(name: str) -> tuple[str, ...]:
    """Return the models of one of FAMILIES in Tables 8 and 9, from the smallest to the largest."""
    return tuple(model for model in _models() if model.startswith(FAMILIES[name]))


def model_of(base_slug: str) -> str | None:
    """Return a base model's column in Tables 8 and 9, or None."""
    name = base_slug
    for ours, theirs in _SLUGS.items():
        name = name.replace(ours, theirs)
    return next((model for model in _models() if model.lower() == name.lower()), None)


def rows_of(name: str, base_slug: str) -> tuple[str, ...]:
    """Return the paper's rows for variant `name` of a base: its experiment's, else those of Tables 8 and 9."""
    other = variants.other(name)
    slug = other.slug if other else base_slug if name == "base" else ""
    controlled = [] if other or base_slug != BASE else [name]
    return (*controlled, *filter(None, [model_of(slug)]))


def _models() -> list[str]:
    models: list[str] = printed("tables_8_9")["table8_math500"]["models"]
    return models


def _numbers() -> Iterator[PrintedNumber]:
    preferred = printed("table_1")
    for model, share in preferred["win_rate_percent"].items():
        where = {"persona": preferred["persona"], "percent": True}
        yield from _cells("1", model, preferred["benchmark"], {"win_rate": share}, **where)
    controlled = printed("tables_2_3_4_10_11_12")
    for number in ("2", "3"):
        for row in controlled[f"table{number}"]:
            for benchmark in ("gsm8k", "math500"):
                yield from _cells(number, row["variant"], benchmark, row[benchmark], percent=True)
            score = {"persona_consistency": row["personagym_consistency"]}
            yield from _cells(number, row["variant"], "personagym", score, percent=False)
    for row in controlled["table4_livecodebench"]:
        for level in ("easy", "medium"):
            yield from _cells("4", row["variant"], f"livecodebench-{level}", row[level], percent=True)
    for table, benchmark, percent in (
        ("table10_personagym", "personagym", False),
        ("table11_aime2024", "aime2024", True),
        ("table12_livecodebench_hard", "livecodebench-hard", False),
    ):
        number = table.removeprefix("table").partition("_")[0]
        for row in controlled[table]:
            cells = {name: value for name, value in row.items() if name != "variant"}
            yield from _cells(number, row["variant"], benchmark, cells, percent=percent)
    for table, benchmark in (("table8_math500", "math500"), ("table9_aime2024", "aime2024")):
        content, number = printed("tables_8_9")[table], table.removeprefix("table").partition("_")[0]
        for column, model in enumerate(content["models"]):
            for persona, shares in content["accuracy_percent"].items():
                cells = {"accuracy": shares[column]}
                yield from _cells(number, model, benchmark, cells, percent=True, persona=persona)
            yield from _cells(number, model, benchmark, {"pss": content["pss"][model]}, percent=True)


def _cells(
    table: str, row: str, benchmark: str, cells: Mapping[str, float], *, percent: bool, persona: str = ""
) -> Iterator[PrintedNumber]:
    for measure, number in cells.items():
        value = round(number / 100, 6) if percent and measure != "pss" else float(number)
        yield PrintedNumber(table, row, persona, benchmark, measure, float(number), value)
