"""Results of an adapter as the `model-index` in its card's metadata."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import yaml

from permix.publishing import hub, templates

_METRICS = {
    "worst": "accuracy, worst persona",
    "best": "accuracy, best persona",
    "mean": "accuracy, mean over personas",
    "pss": "PSS: worst / best persona",
    "none": "accuracy without a persona",
}
_MARKS = ("<!-- permix: results -->", "<!-- permix: end of results -->")


def entries(org: str, rows: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield one entry per benchmark; `rows` are those of stage tables for an adapter's card."""
    for benchmark in dict.fromkeys(row["benchmark"] for row in rows):
        own = [row for row in rows if row["benchmark"] == benchmark and row["value"] is not None]
        values = {row["metric"]: row["value"] for row in own}
        metrics = [
            {"type": f"{org}/pss" if metric == "pss" else "accuracy", "name": name, "value": values[metric]}
            for metric, name in _METRICS.items()
            if metric in values
        ]
        sweep, _, revision = own[0]["sweep"].removeprefix("datasets/").partition("@")
        dataset = {"type": sweep, "name": f"{benchmark} under the evaluation personas", "config": benchmark}
        dataset |= {"split": "test", "revision": revision}
        yield {"task": {"type": "text-generation"}, "dataset": dataset, "metrics": metrics}


def results_on(card: str, rows: Sequence[Mapping[str, Any]]) -> str:
    """Return a card with these results instead of earlier sweeps' of the same repositories; ValueError: not YAML."""
    from huggingface_hub import RepoCard

    org = hub.split(rows[0]["sweep"])[1].partition("/")[0]
    sweeps = {hub.split(row["sweep"])[1] for row in rows}
    page = RepoCard(card if card.startswith("---") else f"---\n{{}}\n---\n\n{card}", ignore_metadata_errors=False)
    metadata = dict(vars(page.data))
    stored = metadata.get("model-index")
    models = [model for model in stored if isinstance(model, dict)] if isinstance(stored, list) else []
    listed = [entry for model in models for entry in model.get("results") or []]
    others = [entry for entry in listed if (entry.get("dataset") or {}).get("type") not in sweeps]
    name = next((model["name"] for model in models if "name" in model), "adapter")
    metadata["model-index"] = [{"name": name, "results": [*others, *entries(org, rows)]}]
    head = yaml.safe_dump(metadata, sort_keys=False, allow_unicode=True, width=1000)
    table = templates.render("_results", results=rows, note="")
    begin, end = _MARKS
    body = re.sub(f"{re.escape(begin)}.*?{re.escape(end)}", "", page.text, flags=re.DOTALL).strip()
    return f"---\n{head}---\n\n{body}\n\n{begin}\n## Under system personas\n\n{table.strip()}\n{end}\n"
