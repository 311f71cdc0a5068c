"""The licence of every kind of artifact of every variant, on every kind of base."""

import re

import pytest

from permix import files
from permix.experiment import models
from permix.paper.variants import VARIANTS, Variant
from permix.publishing import licence
from tests.support.cases import cases

BASES = {
    "permix/permix-toy-base": "apache-2.0",
    "meta-llama/Llama-3.1-8B-Instruct": "llama3.1",
    "meta-llama/Llama-3.2-1B-Instruct": "llama3.2",
    "Qwen/Qwen3-1.7B": "apache-2.0",
    "google/gemma-3-1b-it": "gemma",
    "own/model": "other",
}
GSM8K = "datasets/openai/gsm8k"
POOLS = "datasets/permix/permix-personas"
PLAIN = Variant("", "", "none")


def of(card: str, row: Variant = PLAIN, base: str = "own/model", writer: str = "") -> licence.Licence:
    inputs = {"base": base, "task": GSM8K, "personas": POOLS, "mixture": "datasets/permix/m"}
    return licence.of(card, toy=base.endswith("toy-base"), variant=row, inputs=inputs, writer=writer)


@pytest.mark.parametrize("row", VARIANTS.values(), ids=lambda row: row.name)
def test_every_artifact_of_every_variant_has_a_licence_that_the_hub_can_show(row: Variant) -> None:
    for card in licence.PARTS:
        for base in BASES:
            terms = of(card, row, base)
            assert terms.ids, (card, base)
            assert len(set(terms.ids)) == len(terms.ids), (card, base)
            assert terms.reason, (card, base)
            assert ("other" in terms.ids) == bool(terms.name), (card, base, terms)


@pytest.mark.parametrize("row", VARIANTS.values(), ids=lambda row: row.name)
def test_an_adapter_is_under_its_bases_licence_and_its_teachers_terms(row: Variant) -> None:
    for base, own in BASES.items():
        ids = {own}
        ids |= {"gemma"} if row.teacher == "gemma3-27b" else {"llama3.1"} if row.teacher == "llama3.1-70b" else set()
        ids |= {"other"} if row.target == "styled" and not base.endswith("toy-base") else set()  # OpenAI's terms
        assert set(of("adapter", row, base).ids) == ids, base


def test_llama_is_named_and_gemma_and_openai_bind_what_learns_from_them() -> None:
    llama = of("adapter", VARIANTS["rlvr"], "meta-llama/Llama-3.1-8B-Instruct")
    assert llama.ids == ("llama3.1",)
    assert llama.reason.startswith("Built with Llama.")
    assert "subject to the Gemma Terms of Use" in of("adapter", VARIANTS["seqkd-gemma3-27b"], "Qwen/Qwen3-1.7B").reason
    styled = of("mixture", VARIANTS["permix-sft-styled"])
    assert (styled.name, set(styled.ids)) == ("openai-terms-of-use", {"mit", "cc-by-4.0", "other"})
    assert of("adapter", VARIANTS["seqkd-qwen3-32b"], "google/gemma-3-1b-it").ids == ("gemma",)


def test_texts_carry_the_licence_of_problems_personas_and_their_writer() -> None:
    assert of("teacher", writer="google/gemma-3-27b-it").ids == ("mit", "cc-by-4.0", "gemma")
    assert of("teacher", writer="Qwen/Qwen3-32B").ids == ("mit", "cc-by-4.0", "apache-2.0")
    assert of("rewrites", writer="gpt-5-mini").ids == ("mit", "cc-by-4.0", "other")
    assert of("mixture", VARIANTS["sft"]).ids == ("mit",)
    assert of("mixture", VARIANTS["permix-rlvr"]).ids == ("mit", "cc-by-4.0")
    unknown = of("rewrites", writer="own/writer")
    assert (unknown.name, unknown.link) == ("that-of-its-sources", "https://huggingface.co/own/writer")


def test_the_toy_world_is_ours_but_for_the_personas() -> None:
    inputs = {"personas": POOLS, "model": "permix-smoke/permix-toy-teacher"}
    toy = {"toy": True, "variant": PLAIN}
    assert licence.of("teacher", inputs=inputs, writer=inputs["model"], **toy).ids == ("apache-2.0", "cc-by-4.0")  # type: ignore[arg-type]
    assert licence.of("rewrites", inputs=inputs, **toy).ids == ("apache-2.0", "cc-by-4.0")  # type: ignore[arg-type]
    assert of("tables").ids == ("apache-2.0", "cc-by-4.0")
    assert of("personas").ids == ("cc-by-4.0",)


def test_a_pool_of_ones_own_is_not_under_the_papers_licence() -> None:
    inputs = {"task": GSM8K, "personas": "datasets/me/people"}
    terms = licence.of("mixture", toy=False, variant=VARIANTS["permix-rlvr"], inputs=inputs)
    assert (terms.ids, terms.link) == (("mit", "other"), "https://huggingface.co/datasets/me/people")
    inputs = {"personas": "datasets/me/permix-personas-toys"}
    terms = licence.of("personas", toy=False, variant=PLAIN, inputs=inputs)
    assert (terms.ids, terms.name) == (("cc-by-4.0", "other"), "the-publishers-own")


def test_every_builtin_model_is_known() -> None:
    for model in models.BUILTIN.values():
        assert any(re.fullmatch(pattern, model.model) for pattern, _ in licence.SOURCES), model.model


def test_every_row_is_of_a_card_that_exists() -> None:
    assert set(licence.PARTS) <= {path.stem for path in files.CARDS.glob("*.md")}


@pytest.mark.parametrize(("repo", "card", "expected"), cases(__file__)["cards"])
def test_an_unknown_base_has_its_cards_licence(repo: str, card: dict[str, object], expected: tuple[str, str]) -> None:
    own = {repo: licence.stated(repo, card)}
    terms = licence.of("sweep", toy=False, variant=PLAIN, inputs={"base": f"{repo}@main"}, own=own)
    assert ((terms.ids), terms.name) == ((expected[0],), expected[1])
    assert not terms.name or terms.link == f"https://huggingface.co/{repo}"
