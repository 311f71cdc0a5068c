"""Results in the Hub's own format: of registered benchmarks that were answered as a whole, and of no others."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub import parse_eval_result_entries

from permix import benchmarks
from permix.publishing import eval_results
from permix.publishing.hub import Hub, split
from permix.stages import sweep
from tests.support import records
from tests.support.cases import cases

TASKS = (
    "name: GSM8K\ntasks:\n- {id: socratic, config: socratic, split: test}\n- {id: plain, config: main, split: test}\n"
)
ROW = {"benchmark": "gsm8k", "metric": "none", "value": 0.8125}


def published(hub: Hub, folder: Path, *, registered: str = TASKS, card: str = "", **settings: Any) -> str:
    """A benchmark and the record of a sweep of it on the Hub; the sweep's repo@sha."""
    org = folder.parent.name.strip("_")
    (folder / "gsm8k").mkdir(parents=True)
    (folder / "gsm8k" / "test.jsonl").write_text("{}")
    if registered:
        (folder / "gsm8k" / "eval.yaml").write_text(registered)
    if card:
        (folder / "gsm8k" / "README.md").write_text(card)
    dataset, target = f"datasets/{org}/gsm8k", f"datasets/{org}/permix-sweep-b-rlvr"
    sha = hub.publish(dataset, folder / "gsm8k", "benchmark", hub.state(dataset))
    own = {"dataset": f"{org}/gsm8k", "config": settings.pop("part", "main"), "limit": settings.pop("bound", 0)}
    source = replace(benchmarks.builtin("gsm8k"), **own)
    config = sweep.Config(variant="rlvr", base="o/b", base_slug="b", personas="o/p", benchmarks=(source,), **settings)
    inputs = {"benchmark/gsm8k": {"repo": dataset, "revision": sha, "content_digest": "1" * 64}}
    (folder / "sweep").mkdir()
    return f"{target}@{records.publish(hub, 'sweep', target, folder / 'sweep', config, inputs)}"


def test_the_accuracy_without_a_persona_is_the_benchmarks_result(hub: Hub, tmp_path: Path) -> None:
    where = published(hub, tmp_path / "f")
    pages = eval_results.files(hub, [{**ROW, "sweep": where}, {**ROW, "metric": "pss", "sweep": where}])
    assert list(pages) == [".eval_results/gsm8k.yaml"]
    (entry,) = parse_eval_result_entries(yaml.safe_load(pages[".eval_results/gsm8k.yaml"]))
    assert (entry.task_id, entry.value) == ("plain", 81.25)
    assert entry.dataset_id.endswith("/gsm8k")
    assert len(entry.dataset_revision or "") == 40


@pytest.mark.parametrize(("task", "settings"), cases(__file__)["defaults"])
def test_a_task_has_the_default_split_and_config(hub: Hub, tmp_path: Path, task: str, settings: dict[str, Any]) -> None:
    where = published(hub, tmp_path / "f", registered=f"tasks:\n- {task}\n", **settings)
    (page,) = eval_results.files(hub, [{**ROW, "sweep": where}]).values()
    (entry,) = parse_eval_result_entries(yaml.safe_load(page))
    assert entry.task_id == "t"


@pytest.mark.parametrize("settings", cases(__file__)["no results"])
def test_what_is_not_registered_or_not_whole_has_none(hub: Hub, tmp_path: Path, settings: dict[str, Any]) -> None:
    assert eval_results.files(hub, [{**ROW, "sweep": published(hub, tmp_path / "f", **settings)}]) == {}


def test_a_sweep_that_is_gone_or_makes_its_own_problems_has_none(hub: Hub, tmp_path: Path) -> None:
    assert eval_results.files(hub, [{**ROW, "sweep": "datasets/nobody/nothing@0"}]) == {}
    where = published(hub, tmp_path / "f")
    assert eval_results.files(hub, [{**ROW, "benchmark": "arithmetic", "sweep": where}]) == {}
    assert eval_results.files(hub, [{**ROW, "sweep": f"{where.partition('@')[0]}@{'0' * 40}"}]) == {}


def test_results_go_onto_the_hub_with_the_card_and_change_no_content(hub: Hub, tmp_path: Path) -> None:
    where = published(hub, tmp_path / "f")
    target = where.partition("@")[0]
    results = eval_results.files(hub, [{**ROW, "sweep": where}])
    before = hub.state(target)
    for _ in range(2):
        head = hub.state(target)
        assert head
        hub.write_card(head, "---\nlicense: mit\n---\n\n# A card\n", results)
    after = hub.state(target)
    assert before
    assert after
    assert after.content_digest == before.content_digest
    assert after.files.keys() - before.files.keys() == {"README.md", *results}
    kind, name = split(target)
    titles = [commit.title for commit in hub.api.list_repo_commits(name, repo_type=kind)]
    assert titles.count("Results onto the card") == 1
