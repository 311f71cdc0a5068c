"""The embedded Hub under kills, many writers and many readers."""

import hashlib
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from pathlib import Path

import pytest
from huggingface_hub import CommitOperationAdd, HfApi
from huggingface_hub.errors import HfHubHTTPError

from embedded_hub import launch
from embedded_hub.upkeep import fsck
from tests.support.servers import stop

KILLS, CLIENTS, COMMITS, READERS, READS = 50, 8, 40, 200, 20

# Four writers in two processes, because the client decides once per process whether it uploads by Xet or by LFS.
WRITERS = """
import hashlib, os, sys, threading
from huggingface_hub import CommitOperationAdd, HfApi
def write(writer):
    api = HfApi()
    for number in range(10_000):
        path = f"{sys.argv[1]}/{writer}/{number}"
        files = {f"{path}.txt": os.urandom(500).hex().encode(), f"{path}.bin": os.urandom(400_000)}
        for name, content in files.items():
            open(f"{sys.argv[2]}/{name.replace('/', '-')}", "wb").write(content)
        adds = [CommitOperationAdd(name, f"{sys.argv[2]}/{name.replace('/', '-')}") for name in files]
        api.create_commit("lab/r", adds, commit_message="m")
        for name, content in files.items():
            sys.stdout.write(f"{name} {hashlib.sha256(content).hexdigest()}\\n")
            os.unlink(f"{sys.argv[2]}/{name.replace('/', '-')}")
        sys.stdout.flush()
for writer in range(2):
    threading.Thread(target=write, args=(f"{sys.argv[3]}{writer}",)).start()
"""


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "hub"
    stop(tmp_path / "hub", signal.SIGKILL)


def api_of(running: launch.Running) -> HfApi:
    return HfApi(endpoint=running.url, token=running.token)


def check(root: Path) -> None:
    assert fsck.check(root).findings == []
    for folder in (root / "repos").glob("*/*/*.git"):
        done = subprocess.run(["git", "-C", str(folder), "fsck", "--full", "--strict"], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert "missing" not in done.stdout + done.stderr, done.stderr


def test_fifty_kills_under_four_writers_lose_nothing(root: Path, tmp_path: Path) -> None:
    acknowledged: list[str] = []
    moments = random.Random(0)
    for turn in range(KILLS):
        running = launch.attach(root, 0)
        api_of(running).create_repo("lab/r", exist_ok=True)
        writers = []
        for way in ("xet", "lfs"):
            environment = launch.environment(running, tmp_path)
            environment.pop("HF_HUB_DISABLE_XET", None)
            environment |= {"HF_HUB_DISABLE_XET": "1"} if way == "lfs" else {}
            command = [sys.executable, "-W", "ignore", "-c", WRITERS, str(turn), str(tmp_path), way]
            writers.append(
                subprocess.Popen(
                    command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=tmp_path
                )
            )
        firsts = [writer.stdout.readline() for writer in writers if writer.stdout]
        time.sleep(moments.uniform(0, 1))
        stop(root, signal.SIGKILL)
        for writer, first in zip(writers, firsts, strict=True):
            writer.kill()
            acknowledged += [first, *writer.stdout.readlines()]
            writer.stdout.close()
            writer.wait()
        for left in tmp_path.glob(f"{turn}-*"):
            left.unlink()

    running = launch.attach(root, 0)
    known = dict(line.split() for line in acknowledged if line.endswith("\n"))
    assert len(known) > 4 * KILLS
    back = Path(api_of(running).snapshot_download("lab/r", cache_dir=tmp_path / "cache"))
    for path, sha256 in known.items():
        assert hashlib.sha256((back / path).read_bytes()).hexdigest() == sha256
    texts = {str(path.relative_to(back).with_suffix("")) for path in back.rglob("*.txt")}
    assert texts == {str(path.relative_to(back).with_suffix("")) for path in back.rglob("*.bin")}
    stop(root)
    check(root)
    print(f"\n{KILLS} kills, {len(known) // 2} acknowledged commits, {len(texts)} found")


def test_eight_clients_committing_to_one_repository_lose_nothing(root: Path, tmp_path: Path) -> None:
    running = launch.attach(root, 0)
    first = api_of(running).create_repo("lab/r") and api_of(running).model_info("lab/r").sha

    def write(client: int) -> int:
        """Every second commit names its parent, and is made again when another one was faster."""
        api, lost = api_of(running), 0
        for number in range(COMMITS):
            operation = CommitOperationAdd(f"{client}/{number}.txt", f"{client} {number}".encode())
            while True:
                parent = api.model_info("lab/r").sha if number % 2 else None
                try:
                    api.create_commit("lab/r", [operation], commit_message="m", parent_commit=parent)
                    break
                except HfHubHTTPError as error:
                    assert error.response.status_code == 412
                    lost += 1
        return lost

    with ThreadPoolExecutor(CLIENTS) as clients:
        lost = sum(clients.map(write, range(CLIENTS)))
    api = api_of(running)
    assert lost > 0
    assert len(api.list_repo_commits("lab/r")) == CLIENTS * COMMITS + 1
    assert api.list_repo_commits("lab/r")[-1].commit_id == first
    assert len(api.list_repo_files("lab/r")) == CLIENTS * COMMITS + 1
    stop(root)
    check(root)
    print(f"\n{CLIENTS * COMMITS} commits, {lost} of them made again after a 412")


def test_two_hundred_readers_see_no_error(root: Path) -> None:
    running = launch.attach(root, 0)
    api = api_of(running)
    api.create_repo("lab/r")
    files = {"notes.md": b"text " * 200, "a/b.txt": b"b" * 3000, "w.bin": bytes(range(256)) * 400}
    for name, content in files.items():
        api.upload_file(repo_id="lab/r", path_or_fileobj=content, path_in_repo=name)
    paths = ["/api/models/lab/r", "/api/models/lab/r/tree/main?recursive=true", "/api/models"]
    expected = {f"/lab/r/resolve/main/{name}": content for name, content in files.items()}

    def read(reader: int) -> list[float]:
        numbers, taken = random.Random(reader), []
        connection = HTTPConnection(running.url.removeprefix("http://"), timeout=60)
        for _ in range(READS):
            path = numbers.choice([*paths, *expected])
            started = time.perf_counter()
            connection.request("GET", path, headers={"Authorization": f"Bearer {running.token}"})
            answer = connection.getresponse()
            body = answer.read()
            taken.append(time.perf_counter() - started)
            assert answer.status == 200, (path, body)
            assert path not in expected or body == expected[path]
        connection.close()
        return taken

    with ThreadPoolExecutor(READERS) as readers:
        taken = sorted(seconds for several in readers.map(read, range(READERS)) for seconds in several)
    p50, p99 = taken[len(taken) // 2], taken[len(taken) * 99 // 100]
    print(f"\n{len(taken)} reads by {READERS} readers: median {1000 * p50:.0f} ms, p99 {1000 * p99:.0f} ms")
    assert p99 < 10
