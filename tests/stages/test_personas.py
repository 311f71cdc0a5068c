"""The pools as published."""

import json
from pathlib import Path

import pytest
from datasets import load_dataset

from permix import run_record
from permix.errors import BadInput
from permix.experiment.recipe import Recipe
from permix.pipeline import plan, recipes
from permix.prompting import persona
from permix.stages import personas


def test_both_pools_are_written_as_they_are(tmp_path: Path) -> None:
    config = personas.configs(recipes.load("toy"))[0]
    facts = personas.run(config, {}, tmp_path, context=None)  # type: ignore[arg-type]
    assert facts == {"train": 25, "eval": 16}
    for split in ("train", "eval"):
        assert persona.load(tmp_path, split) == persona.bundled(split)  # type: ignore[arg-type]
    rows = load_dataset(str(tmp_path), split="eval", cache_dir=str(tmp_path / "cache"))
    assert (rows.column_names, len(rows)) == (["key", "category", "system_prompt"], 16)


def test_an_edited_prompt_makes_the_pools_stale(monkeypatch: pytest.MonkeyPatch) -> None:
    def digest() -> str:
        return run_record.digest("personas", 1, personas.configs(recipes.load("toy"))[0], {})

    before, bundled = digest(), persona.bundled
    assert digest() == before
    extra = persona.Persona("new", "c", "You are new.")
    monkeypatch.setattr(persona, "bundled", lambda split: [*bundled(split), *([extra] if split == "eval" else [])])
    assert digest() != before


def test_pools_that_overlap_are_refused_before_anything_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = persona.bundled("train")
    monkeypatch.setattr(persona, "bundled", lambda split: pool)
    with pytest.raises(BadInput, match="is in both pools"):
        personas.configs(recipes.load("toy"))


def test_own_pools_are_not_published_again() -> None:
    assert personas.configs(recipes.load("toy", ["personas.dataset=me/people"])) == []


def own(folder: Path, key: str = "sailor", text: str = "You are an old sailor.") -> Recipe:
    rows = [{"key": key, "category": "c", "system_prompt": text}, {"key": "z", "category": "c", "system_prompt": "Z."}]
    (folder / "people.json").write_text(json.dumps(rows))
    return recipes.load("toy", [f"personas.eval={folder / 'people.json'}"])


def test_a_file_is_a_pool_beside_the_papers_and_sweeps_measure_under_it(tmp_path: Path) -> None:
    loaded = own(tmp_path)
    papers, mine = personas.configs(loaded)
    assert personas.target(papers) == "datasets/permix/permix-personas" == loaded.personas_repo
    assert personas.target(mine) == "datasets/permix/permix-personas-people" == loaded.eval_personas_repo
    assert mine.train == papers.train
    assert [p.key for p in mine.eval] == ["sailor", "z"]
    assert str(tmp_path) not in str(mine)
    steps = plan.build(loaded)
    read = {step.stage.name: step.needs["personas"] for step in steps if "personas" in step.needs}
    assert (read["mixtures"], read["sweep"]) == (loaded.personas_repo, loaded.eval_personas_repo)
    trained = [step.config for step in steps if step.stage.name in ("base", "mixtures", "grpo")]
    toy = plan.build(recipes.load("toy"))
    before = [step.config for step in toy if step.stage.name in ("base", "mixtures", "grpo")]
    assert trained == before, "what is measured under other personas is not trained anew"


def test_a_file_with_a_training_persona_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="The persona 'mine' is in both pools"):
        personas.configs(own(tmp_path, "mine", persona.bundled("train")[0].system_prompt))


def test_a_dataset_and_a_file_are_one_too_many() -> None:
    with pytest.raises(BadInput, match="names a dataset and a file"):
        recipes.load("toy", ["personas.dataset=me/people", "personas.eval=people.json"])
