"""permix.publishing.cards: metadata and text of single cards."""

import json
import re
from pathlib import Path
from typing import Any

import jinja2
import pytest
import yaml
from huggingface_hub import ModelCard

from permix.errors import BadInput
from permix.publishing import cards
from permix.stages import grpo, mixtures, personas, sweep
from tests.support import records
from tests.support.models import make_tiny_model

RESULTS = {
    "rows": [
        {"benchmark": "arithmetic", "metric": m, "value": v, "low": low, "high": high}
        | {"sweep": f"datasets/permix/s@{records.SHA}"}
        for m, v, low, high in (("worst", 0.8, 0.75, 0.85), ("pss", 0.82, 0.77, 0.88), ("none", 0.9, None, None))
    ]
}


@pytest.fixture
def adapter() -> dict[str, Any]:
    config = next(c for c in grpo.configs(records.toy_recipe()) if c.variant == "permix-rlvr")
    return records.record("grpo", config, {"steps": 50, "reward_first": 0.6, "reward_last": 0.9})


def head(page: str) -> dict[str, Any]:
    return dict(yaml.safe_load(page.split("---\n")[1]))


def test_adapter_metadata_names_base_mixture_and_metric(adapter: dict[str, Any]) -> None:
    metadata = head(cards.render("adapter", adapter))
    assert (metadata["base_model"], metadata["base_model_relation"]) == ("permix/permix-toy-base", "adapter")
    assert (metadata["library_name"], metadata["pipeline_tag"]) == ("peft", "text-generation")
    assert metadata["datasets"] == ["permix/permix-mixture-arithmetic-permix-rlvr"]
    assert metadata["metrics"] == ["accuracy", "permix/pss"]
    assert {"lora", "grpo", "trl", "persona", "rlvr"} <= set(metadata["tags"])
    assert "model-index" not in metadata


def test_results_become_a_model_index_and_a_table(adapter: dict[str, Any]) -> None:
    page = cards.render("adapter", adapter, RESULTS)
    results = {r.metric_name: r for r in ModelCard(page).data.eval_results}
    assert results["accuracy, worst persona"].metric_value == 0.8
    assert results["PSS: worst / best persona"].metric_type == "permix/pss"
    assert results["accuracy without a persona"].dataset_revision == records.SHA
    assert f"| arithmetic | pss | 0.82 | 0.77 to 0.88 | [sweep](/datasets/permix/s/tree/{records.SHA}) |" in page
    assert "Not measured yet" not in page


def test_adapter_card_lists_every_hyperparameter(adapter: dict[str, Any]) -> None:
    page = cards.render("adapter", adapter)
    for name in set(adapter["config"]) - {"org", "tag"}:
        assert f"| `{name}` |" in page


def test_the_snippet_of_an_adapter_card_runs(
    adapter: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.set_num_threads(1)
    base, lora = tmp_path / "permix" / "permix-toy-base", tmp_path / adapter["target"]
    make_tiny_model(base)
    config = LoraConfig(r=2, target_modules=["q_proj"], task_type="CAUSAL_LM")
    get_peft_model(AutoModelForCausalLM.from_pretrained(base), config).save_pretrained(lora)
    AutoTokenizer.from_pretrained(base).save_pretrained(lora)
    snippet = re.findall(r"```python\n(.*?)```", cards.render("adapter", adapter), re.DOTALL)[0]
    assert f'revision="{records.SHA}"' in snippet
    assert 'revision="v1.0.0"' in snippet
    monkeypatch.chdir(tmp_path)  # a folder of that name stands for the repository
    capsys.readouterr()
    exec(compile(snippet, "card", "exec"), {})
    assert capsys.readouterr().out.endswith("\n")


def test_values_of_a_user_cannot_break_the_metadata(adapter: dict[str, Any]) -> None:
    nasty = 'x: y\n---\nlicense: mit\n---\n"|`{{ 7 * 7 }}'
    rows = [row | {"benchmark": nasty} for row in RESULTS["rows"]]
    page = cards.render("adapter", adapter | {"config": adapter["config"] | {"optim": nasty}}, {"rows": rows})
    assert ModelCard(page).data.license == "apache-2.0"
    assert {r.dataset_config for r in ModelCard(page).data.eval_results} == {nasty}
    assert "49" not in page.split("## Results")[1].split("## Provenance")[0].replace(records.SHA, "")


def test_an_unknown_card_is_refused(adapter: dict[str, Any]) -> None:
    with pytest.raises(BadInput, match="did you mean 'adapter'"):
        cards.render("adaptor", adapter)


def test_a_missing_value_is_an_error_and_not_a_hole(adapter: dict[str, Any]) -> None:
    del adapter["digest"]
    with pytest.raises(jinja2.UndefinedError, match="digest"):
        cards.render("adapter", adapter)


def test_configs_of_a_dataset_with_two_splits() -> None:
    paths = ["data/eval-00000-of-00001.parquet", "data/train-00000-of-00001.parquet", "run.json", "data/notes.json"]
    files = [{"split": "train", "path": "data/train-*.parquet"}, {"split": "eval", "path": "data/eval-*.parquet"}]
    assert cards.configs(dict.fromkeys(paths)) == [{"config_name": "default", "data_files": files}]


def test_sweep_card_counts_its_rows_and_shows_controls(tmp_path: Path) -> None:
    config = next(c for c in sweep.configs(records.toy_recipe()) if c.variant == "rlvr")
    summary = records.sweep_of(tmp_path, "rlvr", 0, problems=6)
    page = cards.render("sweep", records.record("sweep", config, {"summary": summary}))
    assert head(page)["size_categories"] == ["n<1K"]  # 2 benchmarks x 6 problems x 18 conditions
    assert {c["config_name"] for c in head(page)["configs"]} == set(records.BENCHMARKS)
    assert "| none | " in page
    assert "| helpful | " in page
    assert "`pss_null`" in page
    assert "default system message" not in page


def test_sweep_card_names_the_default_system_message_and_notes(tmp_path: Path) -> None:
    config = next(c for c in sweep.configs(records.toy_recipe()) if c.variant == "rlvr")
    summary = records.sweep_of(tmp_path, "rlvr", 0, problems=6)
    facts = {"summary": summary, "default_system": "You are\nQwen.", "notes": ["peft warns of <it>."]}
    page = cards.render("sweep", records.record("sweep", config, facts))
    assert "**The control `none` carries the template's default system message**" in page
    assert "You are Qwen." in page
    assert page.count("| none (with the template's default system message) | ") == len(records.BENCHMARKS)
    assert "Note: peft warns of &lt;it>." in page


def test_personas_card_attributes_the_paper() -> None:
    (config,) = personas.configs(records.toy_recipe())
    page = cards.render("personas", records.record("personas", config, {"train": 25, "eval": 16}))
    assert head(page)["license"] == "cc-by-4.0"
    assert "creativecommons.org/licenses/by/4.0" in page
    assert "Jihwan Oh" in page


def test_a_mixture_with_personas_carries_their_licence() -> None:
    pages = {}
    for config in mixtures.configs(records.toy_recipe()):
        facts = {"rows": 4, "problems": 4, "personas": {"none": 4}}
        pages[config.variant] = head(cards.render("mixture", records.record("mixtures", config, facts)))
    assert (pages["permix-rlvr"]["license"], pages["rlvr"]["license"]) == (["apache-2.0", "cc-by-4.0"], "apache-2.0")


def test_a_card_is_the_same_from_the_record_before_and_after_the_hub(adapter: dict[str, Any]) -> None:
    turned = json.loads(json.dumps(adapter, sort_keys=False))
    turned["config"] = dict(reversed(turned["config"].items()))
    turned["inputs"] = dict(reversed(turned["inputs"].items()))
    assert cards.render("adapter", turned) == cards.render("adapter", adapter)


def test_a_card_names_the_licence_and_the_language_that_are_known(adapter: dict[str, Any]) -> None:
    adapter["inputs"]["base"] = {"repo": "Qwen/Qwen2.5-0.5B", "revision": records.SHA, "license": "apache-2.0"}
    assert head(cards.render("adapter", adapter))["license"] == "apache-2.0"
    assert head(cards.render("adapter", adapter))["language"] == "en"
    for own in ("datasets/me/leute", "datasets/me/permix-personas-leute"):
        personas = adapter | {"inputs": adapter["inputs"] | {"personas": {"repo": own, "revision": records.SHA}}}
        assert "language" not in head(cards.render("adapter", personas))
    assert "language" not in head(cards.render("adapter", adapter | {"language": ""}))
