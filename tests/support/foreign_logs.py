"""Logs of other tools."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

DATE = "2026-11-21T09-05-18.972038"


Scores = Sequence[float]


def lm_eval(folder: Path, system: str | None, scores: Scores, *, date: str = DATE, **changes: Any) -> Path:
    """What `lm_eval --log_samples --output_path` writes: one line per document and filter."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = [
        {
            "doc_id": number,
            "doc": {"question": f"What is {number}+{number}?", "answer": str(2 * number)},
            "target": str(2 * number),
            "arguments": {"gen_args_0": {"arg_0": f"{system} {number}", "arg_1": {"until": ["\n\n"]}}},
            "resps": [[f"It is {number}."]], "filtered_resps": [str(number)], "filter": "all",
            "metrics": ["exact_match"], "exact_match": score, "doc_hash": f"hash of {number}", **changes,
        }
        for number, score in enumerate(scores)
    ]  # fmt: skip
    results = {"model_name": "org/small", "system_instruction": system, "lm_eval_version": "0.4.13"}
    (folder / f"samples_sums_{date}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / f"results_{date}.json").write_text(json.dumps(results))
    return folder
