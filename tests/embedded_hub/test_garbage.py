"""What nothing refers to goes by age, and nothing else does."""

import hashlib
import os
import time
from pathlib import Path

from embedded_hub.app import open_hub
from embedded_hub.context import Hub
from embedded_hub.store.git_tree import Delete, Put
from embedded_hub.store.lfs import Pointer
from embedded_hub.upkeep.garbage import collect

from .test_durability import fsck


def upload(hub: Hub, repo: str, content: bytes) -> Pointer:
    pointer = Pointer(hashlib.sha256(content).hexdigest(), len(content))
    arriving = hub.lfs.receive(pointer)
    arriving.write(content)
    arriving.finish()
    arriving.abandon()
    row = hub.accounts.repo("models", *repo.split("/"))
    assert row
    hub.accounts.grant(row.id, pointer.oid)
    return pointer


def make(hub: Hub, name: str) -> None:
    hub.store.create("models", name, [Put("a", b"1")], "me")
    hub.accounts.add_repo("models", *name.split("/"), False, None)


def grow_old(root: Path) -> None:
    for path in root.rglob("*"):
        if path.suffix != ".db":
            os.utime(path, (time.time() - 10**6,) * 2)


def test_only_old_left_overs_go(tmp_path: Path) -> None:
    hub = open_hub(tmp_path)
    make(hub, "lab/r")
    make(hub, "lab/gone")
    git = hub.store.repo("models", "lab/r")
    used, former, unused, of_gone = (upload(hub, "lab/r", bytes([number]) * 1000) for number in range(4))
    row = hub.accounts.repo("models", "lab", "gone")
    assert row
    hub.accounts.revoke(hub.accounts.repo("models", "lab", "r"), of_gone.oid)  # type: ignore[arg-type]
    hub.accounts.grant(row.id, of_gone.oid)
    git.commit("main", [Put("w.bin", used.text()), Put("old.bin", former.text())], "m", "me")
    git.commit("main", [Delete("old.bin")], "m", "me")
    git.propose(1, git.state("main") or "", [Put("b", b"proposed")], "m", "me")
    git._move = lambda *_: None  # type: ignore[method-assign]  # as when a kill comes before the branch moves
    git.commit("main", [Put("b", b"left over")], "m", "me")
    (git.path / "objects" / "ab").mkdir(exist_ok=True)
    (git.path / "objects" / "ab" / "tmp_obj_1").write_bytes(b"x")
    (hub.lfs.incoming / "left").mkdir()
    (hub.lfs.incoming / "left" / "1").write_bytes(b"x")
    address = hub.xet.address(row.id)
    hub.accounts.remove_repo(row)

    removed = collect(hub)  # all of it is young, but a deleted repository sends nobody to its xorbs
    assert (removed.large_files, removed.git_objects, removed.unfinished, removed.xorb_addresses) == (0, 0, 0, 1)
    assert not (tmp_path / "xorbs" / str(row.id) / address).exists()
    grow_old(tmp_path)
    late = upload(hub, "lab/r", b"just arrived")
    removed = collect(hub)
    assert (removed.large_files, removed.git_objects, removed.unfinished) == (2, 3, 2)
    assert [hub.lfs.has(one) for one in (used, former, unused, of_gone, late)] == [True, True, False, False, True]
    assert git.text(git.resolve("refs/pr/1") or "", "b") == "proposed"
    row = hub.accounts.repo("models", "lab", "r")
    assert row and hub.accounts.granted(row, [unused.oid]) == set()
    hub.store.close()
    fsck(git.path)


def test_addresses_of_xorbs_go_a_day_after_they_were_given_up(tmp_path: Path) -> None:
    hub = open_hub(tmp_path)
    make(hub, "lab/r")
    first = hub.xet.address(1)
    hub.xet.renew(1, first)
    second = hub.xet.address(1)
    assert first != second
    assert collect(hub).xorb_addresses == 0
    assert collect(hub, age=-1).xorb_addresses == 1
    assert [path.name for path in (tmp_path / "xorbs" / "1").iterdir()] == [second]
    hub.store.close()
