"""A published Space is its folder of spaces/ and the files that apps.COPIED names."""

from pathlib import Path

import pytest

from permix import files, run_record
from permix.pipeline import recipes
from permix.stages import apps


def content(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("config", apps.configs(recipes.load("toy")), ids=lambda config: config.space)
def test_a_space_is_its_folder_and_the_files_copied_into_it(config: apps.Config, tmp_path: Path) -> None:
    facts = apps.run(config, {}, tmp_path, context=None)  # type: ignore[arg-type]
    own = {name: data for name, data in content(files.SPACES / config.space).items() if "__pycache__" not in name}
    copies = {path.name: path.read_bytes() for path in apps.COPIED[config.space]}
    assert content(tmp_path) == own | copies
    assert facts["files"] >= len(own) + len(copies)
    assert "README.md" in own
    assert apps.target(config) == f"spaces/permix/{config.space}"
    assert run_record.content_digest(tmp_path) == config.content


def test_nothing_in_the_folders_is_a_link() -> None:
    assert [path for path in files.SPACES.rglob("*") if path.is_symlink()] == []


def test_an_edit_of_code_card_or_copy_makes_a_space_stale(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, shared = tmp_path / "spaces" / "echo", tmp_path / "shared.py"
    monkeypatch.setattr(files, "SPACES", folder.parent)
    monkeypatch.setattr(apps, "COPIED", {"echo": (shared,)})
    folder.mkdir(parents=True)
    (folder / "README.md").write_text("card")
    (folder / "app.py").write_text("1")
    shared.write_text("1")
    (folder.parent / "no-space").mkdir()

    def digest() -> str:
        (config,) = apps.configs(recipes.load("toy"))
        return run_record.digest("apps", apps.STAGE.version, config, {})

    digests = [digest()]
    (folder / "__pycache__").mkdir()
    (folder / "__pycache__" / "app.pyc").write_text("x")
    (folder / ".cache").mkdir()
    (folder / ".cache" / "y").write_text("y")
    assert digest() == digests[0]
    for path in (folder / "app.py", folder / "README.md", shared):
        path.write_text("2")
        digests.append(digest())
    assert len(set(digests)) == 4
