"""Plain accuracy as the Hub's own evaluation results, `.eval_results/<benchmark>.yaml` of an adapter.

Only for a whole benchmark whose dataset is registered, that is, has an eval.yaml which names its tasks
(https://huggingface.co/docs/hub/eval-results). PSS belongs to no registered benchmark: it is in the model-index.
"""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from permix.publishing.hub import Hub

REGISTRATION = "eval.yaml"


def files(hub: "Hub", rows: Iterable[Mapping[str, Any]]) -> dict[str, bytes]:
    """{path: content} of the results in `rows` (as stage tables annotates them) that a registered benchmark has."""
    from huggingface_hub import EvalResultEntry, eval_result_entries_to_yaml

    found = {}
    for row in rows:
        if row["metric"] != "none" or row["value"] is None or not (place := _task(hub, row["sweep"], row["benchmark"])):
            continue
        dataset, revision, task = place
        entry = EvalResultEntry(
            dataset_id=dataset,
            task_id=task,
            value=round(100 * row["value"], 2),
            dataset_revision=revision,
            source_url=None if hub.embedded else f"{hub.endpoint}/{row['sweep'].partition('@')[0]}",
            notes="no system prompt, mean over runs",
        )
        text = yaml.safe_dump(eval_result_entries_to_yaml([entry]), sort_keys=False)
        found[f".eval_results/{row['benchmark']}.yaml"] = text.encode()
    return found


def _task(hub: "Hub", sweep: str, benchmark: str) -> tuple[str, str, str] | None:
    """Dataset, revision and task of a benchmark that the sweep answered as a whole; None where it is not registered."""
    made = hub.head(sweep)
    source = made and made.record and made.record["inputs"].get(f"benchmark/{benchmark}")
    if not made or not made.record or not source:
        return None
    asked = next(found for found in made.record["config"]["benchmarks"] if found["name"] == benchmark)
    dataset = hub.head(f"{source['repo']}@{source['revision']}")
    if asked["limit"] or made.record["config"]["limit"] or not dataset or REGISTRATION not in dataset.files:
        return None
    page = yaml.safe_load(hub.download(f"{dataset.repo}@{dataset.sha}", REGISTRATION).read_text(encoding="utf-8"))
    for task in page.get("tasks", []) if isinstance(page, dict) else []:
        if task.get("config", "default") == (asked["config"] or "default") and task.get("split") == asked["split"]:
            return dataset.repo.removeprefix("datasets/"), dataset.sha, str(task["id"])
    return None
