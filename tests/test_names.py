"""A name says what the thing is (.github/CONTRIBUTING.md): these words are not names of variables or functions."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
EMPTY_WORDS = {"found", "made", "said", "asked", "one", "place", "who", "kept"}
FILES = [path for folder in ("pipelines", "spaces", "tests") for path in sorted((ROOT / folder).rglob("*.py"))]


def names(tree: ast.AST) -> Iterator[str]:
    """Every name that the module binds, but for keys of recipes and records."""
    classes = [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    keys = {id(line.target) for node in classes for line in node.body if isinstance(line, ast.AnnAssign)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and id(node) not in keys:
            yield node.id
        elif isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.alias):
            yield node.asname or node.name


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_name_is_an_empty_word(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert sorted({name for name in names(tree) if name.strip("_") in EMPTY_WORDS}) == []
