"""Spaces are published byte for byte."""

from pathlib import Path

import pytest

from permix import files, run_record
from permix.pipeline import recipes
from permix.stages import apps


def content(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("config", apps.configs(recipes.load("toy")), ids=lambda config: config.space)
def test_a_space_is_its_folder(config: apps.Config, tmp_path: Path) -> None:
    facts = apps.run(config, {}, tmp_path, parts=None)  # type: ignore[arg-type]
    here = {name: data for name, data in content(files.SPACES / config.space).items() if "__pycache__" not in name}
    assert content(tmp_path) == here and facts["files"] >= len(here)
    assert apps.target(config) == f"spaces/permix/{config.space}" and "README.md" in here
    described = run_record.describe_files(tmp_path)
    assert run_record.content_digest(tmp_path, described) == config.content


def test_an_edit_of_code_or_card_makes_a_space_stale(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "SPACES", tmp_path)
    folder = tmp_path / "one"
    folder.mkdir()
    (folder / "README.md").write_text("card")
    (folder / "app.py").write_text("1")
    (tmp_path / "no-space").mkdir()

    def digest() -> str:
        (config,) = apps.configs(recipes.load("toy"))
        return run_record.digest("apps", apps.VERSION, config, {})

    seen = [digest()]
    (folder / "__pycache__").mkdir()
    (folder / "__pycache__" / "app.pyc").write_text("x")
    (folder / ".cache").mkdir()
    (folder / ".cache" / "y").write_text("y")
    assert digest() == seen[0]
    for name in ("app.py", "README.md"):
        (folder / name).write_text("2")
        seen.append(digest())
    assert len(set(seen)) == 3
