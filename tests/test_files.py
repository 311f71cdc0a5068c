"""Where things lie, and files that are written wholly or not at all."""

import json
import multiprocessing
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from permix import files
from permix.prompting import persona


def test_the_published_folders_are_there() -> None:
    for folder in (files.PERSONAS, files.CARDS, files.SPACES, files.RECIPES):
        assert any(folder.iterdir()), folder


def test_home_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("PERMIX_HOME")
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    assert files.home() == tmp_path / ".local" / "share" / "permix"
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    assert files.home() == tmp_path / "data" / "permix"
    monkeypatch.setenv("PERMIX_HOME", "~/mine")
    assert files.home() == tmp_path / "mine"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PERMIX_HOME", "here")
    assert files.home() == tmp_path / "here"


def test_json_is_sorted_readable_and_ends_with_a_newline(tmp_path: Path) -> None:
    files.write_json(tmp_path / "new" / "a.json", {"b": 1, "a": "ü"})
    assert (tmp_path / "new" / "a.json").read_text(encoding="utf-8") == '{\n "a": "ü",\n "b": 1\n}\n'
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["a.json"]


def test_a_failed_write_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    files.write_json(path, {"old": 1})
    with pytest.raises(TypeError):
        files.write_json(path, {"new": {1}})
    with pytest.raises(TypeError):
        files.write_bytes(path, "text")  # type: ignore[arg-type]
    assert json.loads(path.read_text()) == {"old": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def _write_for_ever(path: Path) -> None:
    for number in range(10**9):
        files.write_json(path, {"number": number, "text": "x" * 100_000})


def test_a_killed_writer_leaves_a_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    for _ in range(3):
        writer = multiprocessing.get_context("fork").Process(target=_write_for_ever, args=(path,))
        writer.start()
        while not path.exists():
            pass
        writer.join(0.05)
        assert writer.pid is not None
        os.kill(writer.pid, signal.SIGKILL)
        writer.join()
        assert len(json.loads(path.read_text())["text"]) == 100_000


@pytest.mark.parametrize(
    ("content", "stored"),
    [
        ("a \ud83d b", "a \ufffd b"),
        ("\udc00", "\ufffd"),
        ("\ud83d\ude00", "\U0001f600"),
        ("\ud83d\ud83d", "\ufffd\ufffd"),
        ("\ufeffé\U0001f600", "\ufeffé\U0001f600"),
        ({"\ud83d": ["\ud83d", 1, None, {"a": "\ud83d"}]}, {"\ufffd": ["\ufffd", 1, None, {"a": "\ufffd"}]}),
    ],
)
def test_half_a_character_is_replaced(content: Any, stored: Any) -> None:
    assert files.storable(content) == stored


def test_half_a_character_in_a_persona_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "pool.json"
    path.write_text(json.dumps([{"key": "a\ud83d", "category": "c", "system_prompt": "You are \ud83d."}]))
    assert persona.from_file(path) == [persona.Persona("a\ufffd", "c", "You are \ufffd.")]
