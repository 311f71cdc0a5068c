"""What the cards of adapters and mixtures say beyond what every card says."""

import copy
from typing import Any

import pytest
import yaml

from permix.publishing import cards
from tests.support import records


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, dict[str, Any]]]:
    """(card, record) of every artifact of recipe toy."""
    return list(records.records(records.toy_recipe(), tmp_path_factory.mktemp("records")))


@pytest.fixture(scope="module")
def pages(recorded: list[tuple[str, dict[str, Any]]]) -> dict[str, str]:
    described = [(card, record) for card, record in recorded if card in ("adapter", "mixture")]
    return {record["target"].partition("/permix-")[2]: cards.render(card, record) for card, record in described}


def test_an_sft_adapter_says_what_it_learned_from_and_what_it_cost(pages: dict[str, str]) -> None:
    page = pages["toy-seqkd-toy"]
    assert "fine-tuned (SFT) on a teacher's answers on prompts without personas" in page
    assert f"| targets of the mixture | `datasets/o/t@{records.SHA}` |" in page
    assert "| hours | 0.003 |" in page
    assert "![Training curves](figures/training.png)" in page
    assert "samples.jsonl" not in page
    assert "The model also learned the errors of the targets." in page
    assert "by_persona" not in page


def test_a_grpo_adapter_shows_every_persona(pages: dict[str, str]) -> None:
    page = pages["toy-permix-rlvr"]
    assert [part for part in ("| chef | 0.5 | 0 |", "| poet | – | 1 |", "(samples.jsonl)") if part not in page] == []


def test_an_adapter_card_says_what_its_mixture_shares_and_what_its_recipe_notes(
    recorded: list[tuple[str, dict[str, Any]]],
) -> None:
    record = copy.deepcopy(next(record for card, record in recorded if card == "adapter"))
    shared = {"arithmetic": {"n": 8, "train": 16, "test": 500, "found": 27, "share": 0.054}}
    record["facts"]["mixture"] = {"rows": 16, "overlap": shared}
    row = {"benchmark": "arithmetic", "metric": "worst", "value": 0.0, "low": None, "high": None}
    results = {"rows": [row | {"sweep": f"datasets/o/s@{records.SHA}"}], "note": "it learns nothing."}
    page = cards.render("adapter", record, results)
    assert "| arithmetic | 500 | 27 (5.4 %) |" in page
    assert "Problems with 8 consecutive words in common with" in page
    assert "{'" not in page
    assert "\n\nNote: it learns nothing.\n" in page


def test_an_adapter_card_shows_peft_transformers_and_vllm(pages: dict[str, str]) -> None:
    page = pages["toy-permix-rlvr"]
    assert "PeftModel.from_pretrained" in page
    assert 'pipeline("text-generation"' in page
    assert "--enable-lora --max-lora-rank 16 --lora-modules permix-rlvr=adapter" in page


def test_tags_follow_the_variants_row(pages: dict[str, str]) -> None:
    def tags(name: str) -> set[str]:
        return {"sft", "grpo", "rlvr", "distillation"} & set(yaml.safe_load(pages[name].split("---\n")[1])["tags"])

    for name in ("toy-{}", "mixture-arithmetic-{}"):
        assert (tags(name.format("permix-rlvr")), tags(name.format("permix-sft-styled"))) == ({"grpo", "rlvr"}, {"sft"})
        assert tags(name.format("seqkd-toy")) == {"sft", "distillation"}


def test_a_mixture_names_its_targets(pages: dict[str, str]) -> None:
    assert "the gold rationale rewritten in the persona's style" in pages["mixture-arithmetic-permix-sft-styled"]
    source = "The targets come from [`datasets/permix/permix-arithmetic-teacher-toy@"
    assert source in pages["mixture-arithmetic-seqkd-toy"]
    assert "`completion`" not in pages["mixture-arithmetic-permix-rlvr"]
