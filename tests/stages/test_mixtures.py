"""Training sets: the same problems for both variants, a persona drawn for each where the variant wants one."""

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as parquet
import pytest

from permix import persona, prompt, recipe
from permix.benchmarks import Source
from permix.errors import BadInput
from permix.stages import mixtures
from tests.benchmarks.test_sources import QUIZ, quiz

SMOKE = recipe.load("smoke")


@pytest.fixture
def pools(tmp_path: Path) -> Path:
    from permix.stages import personas

    (tmp_path / "pools").mkdir()
    personas.run(personas.configs(SMOKE)[0], {}, tmp_path / "pools", parts=None)  # type: ignore[arg-type]
    return tmp_path / "pools"


def config_of(name: str, **settings: Any) -> mixtures.Config:
    return replace(next(c for c in mixtures.configs(SMOKE) if c.variant == name), **settings)


def rows(config: mixtures.Config, out: Path, **inputs: Path) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    out.mkdir()
    facts = mixtures.run(config, inputs, out, parts=None)  # type: ignore[arg-type]
    table = parquet.read_table(out / "data" / "train-00000-of-00001.parquet")
    assert table.column_names == ["problem_id", "question", "gold", "kind", "persona", "prompt"]
    return table.to_pylist(), facts


def test_both_variants_hold_the_same_problems_and_one_has_personas(pools: Path, tmp_path: Path) -> None:
    plain, plain_facts = rows(config_of("rlvr"), tmp_path / "a", personas=pools)
    mixed, mixed_facts = rows(config_of("permix-rlvr"), tmp_path / "b", personas=pools)
    assert [(r["problem_id"], r["gold"]) for r in plain] == [(r["problem_id"], r["gold"]) for r in mixed]
    assert all(r["persona"] is None and [m["role"] for m in r["prompt"]] == ["user"] for r in plain)
    by_key = {p.key: p for p in persona.bundled("train")}
    for row in mixed:
        drawn = persona.draw(persona.bundled("train"), 0, row["problem_id"])
        assert row["persona"] == drawn.key
        assert row["prompt"] == prompt.messages(row["question"], by_key[row["persona"]], "plain")
    assert plain_facts == {"rows": 16, "problems": 16, "personas": {"none": 16}}
    assert mixed_facts["personas"] == dict(sorted(Counter(r["persona"] for r in mixed).items()))


def test_no_persona_of_the_evaluation_is_trained_on(pools: Path, tmp_path: Path) -> None:
    config = config_of("permix-rlvr", task=replace(SMOKE.task, limit=400))
    found, _ = rows(config, tmp_path / "a", personas=pools)
    assert {r["persona"] for r in found} == {p.key for p in persona.bundled("train")}
    assert not {r["persona"] for r in found} & {p.key for p in persona.bundled("eval")}


def test_further_epochs_and_seeds_draw_anew(pools: Path, tmp_path: Path) -> None:
    found, facts = rows(config_of("permix-rlvr", epochs=2), tmp_path / "a", personas=pools)
    first, second = found[:16], found[16:]
    assert [r["problem_id"] for r in first] == [r["problem_id"] for r in second] and facts["rows"] == 32
    assert [r["persona"] for r in first] != [r["persona"] for r in second]
    other, _ = rows(config_of("permix-rlvr", seed=1), tmp_path / "b", personas=pools)
    assert [r["persona"] for r in other] != [r["persona"] for r in first]
    with pytest.raises(BadInput, match="epochs is 0: it should be at least 1"):
        config_of("rlvr", epochs=0)


def test_a_task_of_ones_own(pools: Path, tmp_path: Path) -> None:
    task = replace(QUIZ, split="train", instruction="boxed")
    config = config_of("rlvr", task=task)
    assert mixtures.inputs(config)["task"] == "datasets/me/quiz"
    assert mixtures.target(config) == "datasets/permix-smoke/permix-mixture-quiz-rlvr"
    found, _ = rows(config, tmp_path / "a", personas=pools, task=quiz(tmp_path / "quiz", split="train"))
    assert [(r["gold"], r["kind"]) for r in found] == [("Ann", "exact"), ("3", "exact"), ("Here", "exact")]
    assert found[0]["prompt"][0]["content"].endswith("put your final answer within \\boxed{}.")


def test_a_gold_that_cannot_be_checked_is_refused(pools: Path, tmp_path: Path) -> None:
    task = Source(name="quiz", dataset="me/quiz", problem="q", answer="a", split="train")
    folder = quiz(tmp_path / "quiz", [{"q": "1 + 1?", "a": "2"}, {"q": "Half?", "a": "\\frac{1"}], "train")
    with pytest.raises(BadInput, match="of problem quiz/train/1 is not a number or formula"):
        rows(config_of("rlvr", task=task), tmp_path / "a", personas=pools, task=folder)


def test_own_pools_that_overlap_are_refused(tmp_path: Path) -> None:
    (tmp_path / "pools").mkdir()
    for split in ("train", "eval"):
        (tmp_path / "pools" / f"{split}.json").write_text('[{"key": "a", "category": "c", "system_prompt": "You."}]')
    with pytest.raises(BadInput, match="'a' is in both pools"):
        rows(config_of("rlvr"), tmp_path / "a", personas=tmp_path / "pools")
