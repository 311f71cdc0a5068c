"""kill -9 at any moment: acknowledged commits exist, and no commit exists in part."""

import hashlib
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from huggingface_hub import HfApi

from embedded_hub import launch
from embedded_hub.context import ServerContext
from embedded_hub.store.git_tree import Put
from tests.support.git import git_fsck
from tests.support.servers import stop

WRITERS = """
import hashlib, os, sys, threading
from huggingface_hub import CommitOperationAdd, HfApi
def write(writer):
    api = HfApi()
    for number in range(1000):
        files = {f"{sys.argv[1]}/{writer}/{number}{end}": os.urandom(2000).hex().encode() for end in (".txt", ".bin")}
        api.create_commit("lab/r", [CommitOperationAdd(*one) for one in files.items()], commit_message="m")
        for path, content in files.items():
            sys.stdout.write(f"{path} {hashlib.sha256(content).hexdigest()}\\n")
        sys.stdout.flush()
for writer in range(3):
    threading.Thread(target=write, args=(writer,)).start()
"""


def test_kills_during_commits_lose_nothing_that_was_acknowledged(root: Path) -> None:
    acknowledged: list[str] = []
    numbers = random.Random(0)
    for turn in range(3):
        hub = launch.attach(root, 0)
        HfApi(endpoint=hub.url, token=hub.token).create_repo("lab/r", exist_ok=True)
        environment = launch.environment(hub, root.parent)
        command = [sys.executable, "-W", "ignore", "-c", WRITERS, str(turn)]
        with subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        ) as writers:
            assert writers.stdout
            acknowledged.append(writers.stdout.readline())
            time.sleep(0.2 + numbers.random() * 0.3)
            stop(root, signal.SIGKILL)
            writers.kill()
            acknowledged += writers.stdout.readlines()

    hub = launch.attach(root, 0)
    api = HfApi(endpoint=hub.url, token=hub.token)
    back = Path(api.snapshot_download("lab/r", cache_dir=root.parent / "cache"))
    known = dict(line.split() for line in acknowledged if line.endswith("\n"))
    assert len(known) > 10
    for path, sha256 in known.items():
        assert hashlib.sha256((back / path).read_bytes()).hexdigest() == sha256
    paths = {str(path.relative_to(back)) for path in back.rglob("*.txt")}
    assert paths == {str(path.relative_to(back).with_suffix(".txt")) for path in back.rglob("*.bin")}
    stop(root)
    git_fsck(root / "repos" / "models" / "lab" / "r.git")


def test_a_lock_file_that_a_kill_left_does_not_block_the_branch(tmp_path: Path) -> None:
    context = ServerContext(tmp_path)
    context.repositories.create("models", "lab/r", [Put("a", b"1")], "me")
    repo = context.repositories.open("models", "lab/r")
    (tmp_path / "repos/models/lab/r.git/refs/heads/main.lock").write_bytes(b"")
    before = repo.head("main")
    after, moved = repo.commit("main", [Put("a", b"2")], "m", "me")
    assert moved
    assert after == repo.head("main") != before
    context.repositories.close()


def test_objects_of_a_commit_that_never_moved_the_branch_are_not_seen(tmp_path: Path) -> None:
    context = ServerContext(tmp_path)
    context.repositories.create("models", "lab/r", [Put("a", b"1")], "me")
    repo = context.repositories.open("models", "lab/r")
    before = repo.head("main")

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    repo._move = killed  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        repo.commit("main", [Put("a", b"2")], "m", "me")
    assert repo.head("main") == before
    assert [path for path, _ in repo.files(before or "")] == ["a"]
    context.repositories.close()
    git_fsck(tmp_path / "repos/models/lab/r.git")


def test_creations_and_moves_that_a_kill_interrupted_are_finished_or_forgotten(tmp_path: Path) -> None:
    context = ServerContext(tmp_path)
    for name in ("left", "begun", "moved"):
        context.repositories.create("models", f"lab/{name}", [Put("a", name.encode())], "me")
    for name in ("begun", "moved"):
        context.accounts.add_repo("models", "lab", name, False, None)
        row = context.accounts.repo("models", "lab", name)
        assert row
        context.accounts.begin_move(row, f"new/{name}")
    context.repositories.move("models", "lab/moved", "new/moved")
    context.repositories.close()

    again = ServerContext(tmp_path)
    assert again.accounts.repo("models", "lab", "left") is None  # its folder is there, but it never existed
    assert {row.full_name for row in again.accounts.repos("models")} == {"lab/begun", "new/moved"}
    again.repositories.create("models", "lab/left", [Put("b", b"2")], "me")
    head = again.repositories.open("models", "lab/left").head("main") or ""
    assert [path for path, _ in again.repositories.open("models", "lab/left").files(head)] == ["b"]
    again.repositories.close()
