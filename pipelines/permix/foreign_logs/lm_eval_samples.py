"""EleutherAI's lm-evaluation-harness with --log_samples: samples_<task>_<date>.jsonl and results_<date>.json beside it.

github.com/EleutherAI/lm-evaluation-harness, lm_eval/loggers/evaluation_tracker.py (0.4). A line is one document under
one filter; a score is called `<metric>,<filter>` as in its results.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from permix import foreign_logs
from permix.errors import BadInput
from permix.files import storable

PATTERNS = ("samples_*.jsonl",)
_NAME = re.compile(r"samples_(?P<task>.+)_(?P<date>\d{4}-\d\d-\d\dT[\d.-]+)\.jsonl")
_FIELDS = {
    *("doc_id", "doc", "target", "arguments", "resps", "filtered_resps", "filter", "metrics"),
    *("doc_hash", "prompt_hash", "target_hash"),
}  # every other key of a line is a score


def read(file: Path, metric: str) -> Iterator[foreign_logs.Log]:
    """Yield the log in one samples file; the system prompt is in the results file of the same date."""
    match = _NAME.fullmatch(file.name)
    if match is None:
        raise BadInput(f"{file.name} is not a samples file of lm-eval: it should be samples_<task>_<date>.jsonl.")
    results = file.with_name(f"results_{match['date']}.json")
    if not results.is_file():
        raise BadInput(f"{file.name} has no {results.name} beside it, with the system prompt: add it.")
    try:
        settings = storable(json.loads(results.read_bytes()))
        lines = [storable(json.loads(line)) for line in file.read_bytes().splitlines() if line.strip()]
        scores = {name for line in lines for name in _scores(line)}
        name = foreign_logs.chosen(scores, metric, file.name)
        answers = tuple(_answer(line, name, file.name) for line in lines if name in _scores(line))
        model = str(settings.get("model_name") or settings["config"]["model_args"])
        yield foreign_logs.Log(file, model, match["task"], (settings.get("system_instruction") or "").strip(), answers)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadInput(f"{file.name} or its results file is not as lm-eval 0.4 writes it: {error!r}.") from None


def _scores(line: dict[str, Any]) -> dict[str, Any]:
    numbers = {name: _number(value) for name, value in line.items() if name not in _FIELDS}
    return {f"{name},{line.get('filter', 'none')}": value for name, value in numbers.items() if value is not None}


def _number(value: Any) -> float | None:
    """Return a score, also where numpy's number was written as a text; None for anything else."""
    if isinstance(value, str):
        try:
            return float({"True": 1, "False": 0}.get(value, value))
        except ValueError:
            return None
    return value if isinstance(value, int | float) else None


def _answer(line: dict[str, Any], name: str, where: str) -> foreign_logs.Answer:
    responses, filtered = line["resps"], line["filtered_resps"]
    while isinstance(responses, list) and responses and isinstance(responses[0], list):
        responses = responses[0]
    first = responses[0] if isinstance(responses, list) and responses else responses
    return foreign_logs.Answer(
        problem=str(line["doc_id"]),
        question=str(line.get("doc_hash") or json.dumps(line["doc"], sort_keys=True)),
        score=foreign_logs.score(_scores(line)[name], f"Document {line['doc_id']} of {where}"),
        completion=first if isinstance(first, str) else json.dumps(line["resps"]),  # choices: their log-likelihoods
        prompt=json.dumps(line["arguments"], sort_keys=True),
        extracted=filtered[0] if isinstance(filtered, list) and filtered and isinstance(filtered[0], str) else None,
    )
