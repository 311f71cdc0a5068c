"""Hugging Face's lighteval with --save-details: details/<model>/<date>/details_<task>_<date>.parquet.

github.com/huggingface/lighteval, src/lighteval/logging (0.9 and later): columns doc, metric and model_response; the
system prompt stands in results/<model>/results_<date>.json.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as arrow
import pyarrow.parquet as parquet

from permix import foreign_logs
from permix.errors import BadInput
from permix.foreign_logs import Answer, Log

PATTERNS = ("details_*.parquet",)
_NAME = re.compile(r"details_(?P<task>.+)_(?P<date>\d{4}-\d\d-\d\dT[\d.-]+)\.parquet")


def read(file: Path, metric: str) -> Iterator[Log]:
    """The log in one details file."""
    named = _NAME.fullmatch(file.name)
    if named is None:
        raise BadInput(f"{file.name} is no details file of lighteval: it should be details_<task>_<date>.parquet.")
    results = _results(file, named["date"])
    try:
        settings = json.loads(results.read_bytes())["config_general"]["model_config"]
        table = parquet.read_table(file).to_pylist()
        name = foreign_logs.chosen(
            (k for row in table for k, v in row["metric"].items() if v is not None), metric, file.name
        )
        answers = tuple(_answer(number, row, name, file.name) for number, row in enumerate(table))
        prompt = (settings.get("system_prompt") or "").strip()
        yield Log(file, str(settings["model_name"]), named["task"], prompt, answers)
    except (ValueError, KeyError, TypeError, IndexError, arrow.ArrowException) as error:
        raise BadInput(
            f"{file.name} or its results file is not as lighteval 0.9 or later writes it: {error!r}."
        ) from None


def _results(file: Path, date: str) -> Path:
    """The results file of the same date: in the folder `results` beside `details`, however deep."""
    for folder in file.parents[:6]:
        if found := sorted((folder / "results").rglob(f"results_{date}.json")):
            return found[0]
    raise BadInput(
        f"{file.name} has no results_{date}.json in a folder results near it, which holds the system prompt."
    )


def _answer(number: int, row: dict[str, Any], name: str, where: str) -> Answer:
    doc, said = row["doc"], row["model_response"]
    problem = str(doc.get("id") or number)
    texts, tokens = said["text"], said.get("output_tokens")
    kept = said.get("text_post_processed")
    return Answer(
        problem=problem,
        question=doc["query"],
        score=foreign_logs.score(row["metric"].get(name), f"Document {problem} of {where}"),
        completion=texts[0] if texts else json.dumps(said.get("logprobs")),  # choices: their log-likelihoods
        prompt=json.dumps(said.get("input")),
        extracted=kept[0] if kept else None,
        tokens_out=len(tokens[0]) if tokens and texts and isinstance(tokens[0], list) else None,
    )
