"""The paper's printed numbers as data (arXiv 2604.08986, CC BY 4.0; README.md has the attribution)."""

import functools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from permix.paper import variants

Row = dict[str, Any]

BASE = "Llama-3.1-8B-Instruct"
"""The base model of the controlled experiment, Tables 2-4 and 10-12."""
PROBLEMS = {
    "gsm8k": 1319,
    "math500": 500,
    "aime2024": 30,
    "livecodebench-easy": 142,
    "livecodebench-medium": 168,
    "livecodebench-hard": 90,
}
"""Sizes of the benchmarks; those of LiveCodeBench are inferred from the granularity of the printed cells."""
RUNS = 5
JUDGEMENTS = 32
"""Scores behind one PersonaGym cell, inferred from its granularity: 16 personas x 2 judges."""
FAMILIES = {"Qwen3": "Qwen3-", "Llama3": "Llama-3", "Gemma3": "Gemma3-"}
_SLUGS = {"Meta-Llama": "Llama", "gemma-3": "Gemma3", "-Instruct": "", "-it": ""}


@functools.cache
def printed(name: str) -> dict[str, Any]:
    """One of the files of this folder, as it is."""
    found: dict[str, Any] = json.loads((Path(__file__).parent / f"{name}.json").read_text(encoding="utf-8"))
    return found


@functools.cache
def rows() -> tuple[Row, ...]:
    """Every printed number: table, row (a variant or model), persona ("" for none), benchmark, measure, printed, value.

    `printed` is the number as it stands in the paper, `value` the same as a share (scores and PSS as they are).
    """
    return tuple(_rows())


@functools.cache
def values() -> dict[tuple[str, str, str], float]:
    """{(row, benchmark, measure): value} of the controlled experiment and the public models' PSS."""
    return {(r["row"], r["benchmark"], r["measure"]): r["value"] for r in rows() if not r["persona"]}


@functools.cache
def accuracies() -> dict[tuple[str, str, str], float]:
    """{(model, benchmark, persona): accuracy} of Tables 8 and 9."""
    return {(r["row"], r["benchmark"], r["persona"]): r["value"] for r in rows() if r["measure"] == "accuracy"}


def family(name: str) -> tuple[str, ...]:
    """The models of one of FAMILIES in Tables 8 and 9, from the smallest to the largest."""
    models: list[str] = printed("tables_8_9")["table8_math500"]["models"]
    return tuple(model for model in models if model.startswith(FAMILIES[name]))


def model_of(base_slug: str) -> str | None:
    """The column of Tables 8 and 9 that a base model is, None where it is not among them."""
    name = base_slug
    for ours, theirs in _SLUGS.items():
        name = name.replace(ours, theirs)
    return next(
        (model for model in printed("tables_8_9")["table8_math500"]["models"] if model.lower() == name.lower()), None
    )


def rows_of(name: str, base_slug: str) -> tuple[str, ...]:
    """The paper's rows that the variant `name` of a base stands beside, () where it has none.

    Those of the controlled experiment where the base is its base, of Tables 8 and 9 where the model is one of theirs.
    """
    found = variants.other(name)
    slug = found.slug if found else base_slug if name == "base" else ""
    controlled = [] if found or base_slug != BASE else [name]
    return (*controlled, *filter(None, [model_of(slug)]))


def _rows() -> Iterator[Row]:
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
        found, number = printed("tables_8_9")[table], table.removeprefix("table").partition("_")[0]
        for column, model in enumerate(found["models"]):
            for who, accuracies in found["accuracy_percent"].items():
                yield from _cells(number, model, benchmark, {"accuracy": accuracies[column]}, percent=True, persona=who)
            yield from _cells(number, model, benchmark, {"pss": found["pss"][model]}, percent=True)


def _cells(
    table: str, row: str, benchmark: str, cells: dict[str, float], *, percent: bool, persona: str = ""
) -> Iterator[Row]:
    where = {"table": table, "row": row, "persona": persona, "benchmark": benchmark}
    for measure, number in cells.items():
        share = percent and measure != "pss"
        yield {
            **where,
            "measure": measure,
            "printed": float(number),
            "value": round(number / 100, 6) if share else float(number),
        }
