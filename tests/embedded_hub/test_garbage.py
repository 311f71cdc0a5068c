"""Old unreferenced data is removed, and nothing else is."""

import hashlib
import os
import time
from pathlib import Path

from embedded_hub.context import ServerContext
from embedded_hub.store.git_tree import Delete, Put
from embedded_hub.store.lfs import Pointer
from embedded_hub.upkeep.garbage import collect
from tests.support.git import git_fsck


def upload(context: ServerContext, repo: str, content: bytes) -> Pointer:
    pointer = Pointer(hashlib.sha256(content).hexdigest(), len(content))
    file_upload = context.lfs.receive(pointer)
    file_upload.write(content)
    file_upload.finish()
    file_upload.abandon()
    row = context.accounts.repo("models", *repo.split("/"))
    assert row
    context.accounts.grant(row.id, pointer.oid)
    return pointer


def make(context: ServerContext, name: str) -> None:
    context.repositories.create("models", name, [Put("a", b"1")], "me")
    context.accounts.add_repo("models", *name.split("/"), False, None)


def grow_old(root: Path) -> None:
    for path in root.rglob("*"):
        if path.suffix != ".db":
            os.utime(path, (time.time() - 10**6,) * 2)


def test_only_old_leftovers_are_removed(tmp_path: Path) -> None:
    context = ServerContext(tmp_path)
    make(context, "lab/r")
    make(context, "lab/gone")
    git = context.repositories.open("models", "lab/r")
    used, former, unused, of_gone = (upload(context, "lab/r", bytes([number]) * 1000) for number in range(4))
    row = context.accounts.repo("models", "lab", "gone")
    assert row
    context.accounts.revoke(context.accounts.repo("models", "lab", "r"), of_gone.oid)  # type: ignore[arg-type]
    context.accounts.grant(row.id, of_gone.oid)
    git.commit("main", [Put("w.bin", used.text()), Put("old.bin", former.text())], "m", "me")
    git.commit("main", [Delete("old.bin")], "m", "me")
    git.propose(1, git.head("main") or "", [Put("b", b"proposed")], "m", "me")
    git._move = lambda *_: None  # type: ignore[method-assign]  # as when a kill comes before the branch moves
    git.commit("main", [Put("b", b"left over")], "m", "me")
    (git.path / "objects" / "ab").mkdir(exist_ok=True)
    (git.path / "objects" / "ab" / "tmp_obj_1").write_bytes(b"x")
    (context.lfs.incoming / "left").mkdir()
    (context.lfs.incoming / "left" / "1").write_bytes(b"x")
    address = context.xet.address(row.id)
    context.accounts.remove_repo(row)

    removed = collect(context)  # all of it is young, but a deleted repository sends nobody to its xorbs
    assert (removed.large_files, removed.git_objects, removed.unfinished, removed.xorb_addresses) == (0, 0, 0, 1)
    assert not (tmp_path / "xorbs" / str(row.id) / address).exists()
    grow_old(tmp_path)
    late = upload(context, "lab/r", b"just arrived")
    removed = collect(context)
    assert (removed.large_files, removed.git_objects, removed.unfinished) == (2, 3, 2)
    assert all(context.lfs.has(pointer) for pointer in (used, former, late))
    assert not any(context.lfs.has(pointer) for pointer in (unused, of_gone))
    assert git.text(git.resolve("refs/pr/1") or "", "b") == "proposed"
    row = context.accounts.repo("models", "lab", "r")
    assert row
    assert context.accounts.granted(row, [unused.oid]) == set()
    context.repositories.close()
    git_fsck(git.path)


def test_addresses_of_xorbs_go_a_day_after_they_were_given_up(tmp_path: Path) -> None:
    context = ServerContext(tmp_path)
    make(context, "lab/r")
    first = context.xet.address(1)
    context.xet.renew(1, first)
    second = context.xet.address(1)
    assert first != second
    assert collect(context).xorb_addresses == 0
    assert collect(context, age=-1).xorb_addresses == 1
    assert [path.name for path in (tmp_path / "xorbs" / "1").iterdir()] == [second]
    context.repositories.close()
