"""Edits to a git tree and the files that result."""

import pytest
from dulwich.objects import Tree

from embedded_hub.store.git_tree import CannotEdit, Delete, Edit, Entries, NoSuchPath, Put, apply

EMPTY = bytes(Tree().id)


def edited(*commits: list[Edit]) -> dict[str, bytes]:
    """Apply `commits` one after another; return the files."""
    objects = {EMPTY: Tree()}
    root = EMPTY

    def load(oid: bytes) -> Entries:
        return {item.path: (item.mode, item.sha) for item in objects[oid].iteritems()}

    for edits in commits:
        root, new = apply(root, edits, load)
        objects.update(new)

    def files(oid: bytes, start: str) -> dict[str, bytes]:
        contents = {}
        for name, (mode, child) in load(oid).items():
            path = start + name.decode()
            contents.update(files(child, f"{path}/") if mode == 0o40000 else {path: objects[child].data})
        return contents

    return files(root, "")


def test_files_are_added_replaced_and_deleted_at_any_depth() -> None:
    first: list[Edit] = [Put("a", b"1"), Put("x/y/z", b"2"), Put("x/w", b"3")]
    assert edited(first) == {"a": b"1", "x/y/z": b"2", "x/w": b"3"}
    assert edited(first, [Put("x/y/z", b"4"), Delete("a")]) == {"x/y/z": b"4", "x/w": b"3"}
    assert edited(first, [Delete("x", folder=True)]) == {"a": b"1"}


def test_folders_that_become_empty_vanish() -> None:
    assert edited([Put("x/y/z", b"1"), Put("a", b"")], [Delete("x/y/z")]) == {"a": b""}
    assert edited([Put("x/y", b"1")], [Delete("x/y")]) == {}


def test_a_file_may_take_the_place_of_a_folder_that_the_same_commit_empties_and_back() -> None:
    assert edited([Put("x/y", b"1")], [Delete("x/y"), Put("x", b"2")]) == {"x": b"2"}
    assert edited([Put("x/y", b"1")], [Delete("x", folder=True), Put("x", b"2")]) == {"x": b"2"}
    assert edited([Put("x", b"1")], [Delete("x"), Put("x/y", b"2")]) == {"x/y": b"2"}
    assert edited([Put("x/y", b"1")], [Delete("x", folder=True), Put("x/z", b"2")]) == {"x/z": b"2"}


@pytest.mark.parametrize(
    ("edit", "error"),
    [
        (Put("a/b", b""), CannotEdit),
        (Put("x", b""), CannotEdit),
        (Delete("b"), NoSuchPath),
        (Delete("a/b"), NoSuchPath),
        (Delete("x"), NoSuchPath),
        (Delete("a", folder=True), NoSuchPath),
        (Delete("x/q", folder=True), NoSuchPath),
    ],
)
def test_edits_that_do_not_fit_are_refused(edit: Edit, error: type[CannotEdit]) -> None:
    with pytest.raises(error):
        edited([Put("a", b"1"), Put("x/y", b"2")], [edit])
