"""Hugging Face's lighteval with --save-details: details/<model>/<date>/details_<task>_<date>.parquet.

github.com/huggingface/lighteval, src/lighteval/logging (0.9 and later): columns doc, metric and model_response; the
system prompt is in results/<model>/results_<date>.json.
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
from permix.files import storable

PATTERNS = ("details_*.parquet",)
_NAME = re.compile(r"details_(?P<task>.+)_(?P<date>\d{4}-\d\d-\d\dT[\d.-]+)\.parquet")


def read(file: Path, metric: str) -> Iterator[foreign_logs.Log]:
    """Yield the log in one details file."""
    match = _NAME.fullmatch(file.name)
    if match is None:
        raise BadInput(f"{file.name} is not a details file of lighteval: it should be details_<task>_<date>.parquet.")
    results = _results(file, match["date"])
    try:
        settings = storable(json.loads(results.read_bytes()))["config_general"]["model_config"]
        table = parquet.read_table(file).to_pylist()
        scores = (name for row in table for name, value in row["metric"].items() if value is not None)
        name = foreign_logs.chosen(scores, metric, file.name)
        answers = tuple(_answer(number, row, name, file.name) for number, row in enumerate(table))
        prompt = (settings.get("system_prompt") or "").strip()
        yield foreign_logs.Log(file, str(settings["model_name"]), match["task"], prompt, answers)
    except (ValueError, KeyError, TypeError, IndexError, arrow.ArrowException) as error:
        raise BadInput(f"{file.name} or its results file is not of lighteval 0.9 or later: {error!r}.") from None


def _results(file: Path, date: str) -> Path:
    """Return the results file of the same date, at any depth in the folder `results` beside `details`."""
    for folder in file.parents[:6]:
        if results := sorted((folder / "results").rglob(f"results_{date}.json")):
            return results[0]
    raise BadInput(f"{file.name} lacks results_{date}.json, with the system prompt, in a folder results near it.")


def _answer(number: int, row: dict[str, Any], name: str, where: str) -> foreign_logs.Answer:
    doc, response = row["doc"], row["model_response"]
    problem = str(doc.get("id") or number)
    texts, tokens = response["text"], response.get("output_tokens")
    extracted = response.get("text_post_processed")
    return foreign_logs.Answer(
        problem=problem,
        question=doc["query"],
        score=foreign_logs.score(row["metric"].get(name), f"Document {problem} of {where}"),
        completion=texts[0] if texts else json.dumps(response.get("logprobs")),  # choices: their log-likelihoods
        prompt=json.dumps(response.get("input")),
        extracted=extracted[0] if extracted else None,
        tokens_out=len(tokens[0]) if tokens and texts and isinstance(tokens[0], list) else None,
    )
