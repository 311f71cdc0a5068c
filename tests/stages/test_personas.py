"""The pools as published."""

from pathlib import Path

import pytest
from datasets import load_dataset

from permix import persona, provenance, recipe
from permix.errors import BadInput
from permix.stages import personas


def test_both_pools_are_written_as_they_are(tmp_path: Path) -> None:
    config = personas.configs(recipe.load("toy"))[0]
    facts = personas.run(config, {}, tmp_path, parts=None)  # type: ignore[arg-type]
    assert facts == {"train": 25, "eval": 16}
    for split in ("train", "eval"):
        assert persona.load(tmp_path, split) == persona.bundled(split)  # type: ignore[arg-type]
    rows = load_dataset(str(tmp_path), split="eval", cache_dir=str(tmp_path / "cache"))
    assert rows.column_names == ["key", "category", "system_prompt"] and len(rows) == 16


def test_an_edited_prompt_makes_the_pools_stale(monkeypatch: pytest.MonkeyPatch) -> None:
    def digest() -> str:
        return provenance.digest("personas", 1, personas.configs(recipe.load("toy"))[0], {})

    before, bundled = digest(), persona.bundled
    assert digest() == before
    extra = persona.Persona("new", "c", "You are new.")
    monkeypatch.setattr(persona, "bundled", lambda split: [*bundled(split), *([extra] if split == "eval" else [])])
    assert digest() != before


def test_pools_that_overlap_are_refused_before_anything_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = persona.bundled("train")
    monkeypatch.setattr(persona, "bundled", lambda split: pool)
    with pytest.raises(BadInput, match="is in both pools"):
        personas.configs(recipe.load("toy"))


def test_own_pools_are_not_published_again() -> None:
    assert personas.configs(recipe.load("toy", ["personas.dataset=me/people"])) == []
