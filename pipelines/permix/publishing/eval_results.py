"""Plain accuracy as the Hub's own evaluation results, `.eval_results/<benchmark>.yaml` of an adapter.

Only for sweeps over a whole registered benchmark, whose dataset names its tasks in eval.yaml
(https://huggingface.co/docs/hub/eval-results). PSS is not part of a registered benchmark: it is in the model-index.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import yaml

from permix.errors import BadInput
from permix.publishing.hub import Hub, RepositoryState

REGISTRATION = "eval.yaml"


def files(hub: Hub, rows: Iterable[Mapping[str, Any]]) -> dict[str, bytes]:
    """Return {path: content} for the rows of stage tables whose benchmark is registered."""
    from huggingface_hub import EvalResultEntry, eval_result_entries_to_yaml

    pages = {}
    for row in rows:
        if row["metric"] != "none" or row["value"] is None or not (task := _task(hub, row["sweep"], row["benchmark"])):
            continue
        dataset, revision, task_id = task
        entry = EvalResultEntry(
            dataset_id=dataset,
            task_id=task_id,
            value=round(100 * row["value"], 2),
            dataset_revision=revision,
            source_url=None if hub.embedded else f"{hub.endpoint}/{row['sweep'].partition('@')[0]}",
            notes="no system prompt, mean over runs",
        )
        text = yaml.safe_dump(eval_result_entries_to_yaml([entry]), sort_keys=False)
        pages[f".eval_results/{row['benchmark']}.yaml"] = text.encode()
    return pages


def _task(hub: Hub, sweep: str, benchmark: str) -> tuple[str, str, str] | None:
    """Return dataset, revision and task of a registered benchmark that the sweep covers whole, None for others."""
    try:
        artifact = hub.artifact(sweep)
    except BadInput:  # deleted and built again: the tables are current, and the commit that they name is gone
        return None
    if artifact is None or not (source := artifact.record["inputs"].get(f"benchmark/{benchmark}")):
        return None
    config = artifact.record["config"]
    settings = next(settings for settings in config["benchmarks"] if settings["name"] == benchmark)
    dataset = hub.state(f"{source['repo']}@{source['revision']}")
    if settings["limit"] or config["limit"] or not dataset or REGISTRATION not in dataset.files:
        return None
    page = yaml.safe_load(hub.download(f"{dataset.repo}@{dataset.sha}", REGISTRATION).read_text(encoding="utf-8"))
    default = _default_config(hub, dataset)
    for task in page.get("tasks", []) if isinstance(page, dict) else []:
        measured = settings["config"] or default, settings["split"]
        if (task.get("config") or default, task.get("split") or "test") == measured:
            return dataset.repo.removeprefix("datasets/"), dataset.sha, str(task["id"])
    return None


def _default_config(hub: Hub, dataset: RepositoryState) -> str:
    """Return the dataset's default config by its card: the marked one, or the only one."""
    listed = hub.card(dataset).get("configs") or []
    names = [config["config_name"] for config in listed if config.get("default") or len(listed) == 1]
    return str(names[0]) if names else "default"
