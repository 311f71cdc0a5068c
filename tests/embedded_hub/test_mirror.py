"""`permix hub mirror`: the copy of a repository on another Hub has the same files."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from huggingface_hub import CommitOperationAdd, HfApi

from embedded_hub import launch
from tests.support.cases import cases
from tests.support.hub_command import PERMIX_HUB, permix_hub
from tests.support.wire import PIPELINES


@pytest.fixture(scope="module")
def mine(home: Path) -> HfApi:
    """A client of the target Hub."""
    hub = launch.attach(home / "hub", 0)
    return HfApi(endpoint=hub.url, token=hub.token)


def fill(api: HfApi, name: str, kind: str = "dataset", private: bool = False) -> str:
    """Create a repository with a history, text, large files, an empty file and odd names; return its head."""
    api.create_repo(name, repo_type=kind, private=private, space_sdk="static" if kind == "space" else None)
    files = {
        "README.md": b"---\nlicense: mit\n---\n",
        "w.bin": b"\0\1" * 5000,
        "d/empty": b"",
        "d/#? \xc3\xa9.txt": b"x",
    }
    for turn in (b"1", b"2"):
        edits = [CommitOperationAdd(path, content + turn * bool(content)) for path, content in files.items()]
        head = api.create_commit(name, edits, commit_message="m", repo_type=kind).oid
    return str(head)


def content(api: HfApi, name: str, kind: str = "dataset") -> dict[str, str]:
    tree = api.list_repo_tree(name, repo_type=kind, recursive=True)
    return {entry.path: entry.lfs.sha256 if entry.lfs else entry.blob_id for entry in tree if hasattr(entry, "blob_id")}


@pytest.mark.parametrize("kind", ["model", "dataset", "space"])
def test_a_mirror_has_the_same_files_and_its_source(api: HfApi, mine: HfApi, home: Path, name: str, kind: str) -> None:
    head = fill(api, name, kind)
    full = name if kind == "model" else f"{kind}s/{name}"
    done = permix_hub(home, "mirror", full, "--from", api.endpoint)
    assert done.returncode == 0, done.stderr
    repo, _, commit = done.stdout.splitlines()[-1].partition("@")
    assert (repo, commit) == (full, mine.repo_info(name, repo_type=kind).sha)
    assert content(mine, name, kind) == content(api, name, kind)
    last = mine.list_repo_commits(name, repo_type=kind)[0]
    assert head[:12] in last.title
    assert f"{api.endpoint}/{full}@{head}" in last.message
    assert mine.repo_info(name, repo_type=kind, revision=f"mirror-of-{head}").sha == commit
    assert not list((home / "hub" / "mirror").iterdir())


def test_mirrored_again_it_follows_the_source_alone(api: HfApi, mine: HfApi, home: Path, name: str) -> None:
    first = fill(api, name)
    words = ("mirror", f"datasets/{name}", "--from", api.endpoint)
    once = permix_hub(home, *words).stdout
    assert permix_hub(home, *words).stdout == once
    api.delete_file("w.bin", name, repo_type="dataset")
    api.upload_file(path_or_fileobj=b"new", path_in_repo="n", repo_id=name, repo_type="dataset")
    assert permix_hub(home, *words).stdout != once
    assert content(mine, name) == content(api, name)
    back = permix_hub(home, *words, "--revision", first)
    assert back.returncode == 0
    assert "w.bin" in content(mine, name)


def test_a_repository_goes_to_another_hub_with_the_users_token(api: HfApi, mine: HfApi, home: Path, name: str) -> None:
    fill(mine, name, private=True)
    words = ("mirror", f"datasets/{name}", "--to", str(api.endpoint))
    refused = permix_hub(home, *words, HF_TOKEN=str(api.token), HF_ENDPOINT="https://huggingface.co")
    assert refused.returncode == 1
    assert "was not mirrored" in refused.stderr  # that token belongs to another Hub
    done = permix_hub(home, *words, HF_TOKEN=str(api.token), HF_ENDPOINT=str(api.endpoint))
    assert done.returncode == 0, done.stderr
    assert api.repo_info(name, repo_type="dataset").private is True
    assert content(api, name) == content(mine, name)


def test_a_killed_mirror_resumes(api: HfApi, mine: HfApi, home: Path, name: str) -> None:
    api.create_repo(name)
    edits = [CommitOperationAdd(f"{n}.bin", bytes([n]) * 2000 + b"\0" * 300_000) for n in range(60)]
    api.create_commit(name, edits, commit_message="m")
    environment = os.environ | {"PERMIX_HOME": str(home), "PYTHONPATH": str(PIPELINES)}
    words = ["mirror", name, "--from", str(api.endpoint)]
    work = home / "hub" / "mirror"
    with subprocess.Popen([*PERMIX_HUB, *words], env=environment, stderr=subprocess.DEVNULL) as first:
        deadline = time.monotonic() + 60
        while len(arrived := list(work.glob("*/*.bin"))) < 5:
            assert time.monotonic() < deadline
            assert first.poll() is None
            time.sleep(0.002)
        first.kill()
    times = {path: path.stat().st_mtime_ns for path in arrived}
    broken = arrived[0]
    broken.write_bytes(b"x" * broken.stat().st_size)  # what a machine that lost its power might leave
    program = "import shutil; shutil.rmtree = lambda *_: None; from permix.__main__ import main; main()"
    command = [sys.executable, "-c", program, "hub", *words]
    again = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert again.returncode == 0, again.stderr
    same = [path for path, time_ in times.items() if path.stat().st_mtime_ns == time_]
    assert len(same) >= len(times) - 1
    assert broken not in same
    assert content(mine, name, "model") == content(api, name, "model")


@pytest.mark.parametrize(("words", "code", "sentence"), cases(__file__)["failures"])
def test_a_mirror_that_fails_is_one_sentence(
    api: HfApi, home: Path, words: tuple[str, ...], code: int, sentence: str
) -> None:
    done = permix_hub(home, "mirror", *(str(api.endpoint) if word == "URL" else word for word in words))
    assert (done.returncode, done.stderr.count("\n")) == (code, 1), done.stderr
    assert sentence in done.stderr


def test_other_bytes_than_those_listed_are_refused(api: HfApi, running: launch.Running, home: Path, name: str) -> None:
    api.create_repo(name)
    api.upload_file(path_or_fileobj=b"\0" * 5000, path_in_repo="w.bin", repo_id=name)
    oid = content(api, name, "model")["w.bin"]
    file = running.root / "lfs" / oid[:2] / oid[2:4] / oid
    file.write_bytes(b"\1" * 5000)
    try:
        done = permix_hub(home, "mirror", name, "--from", str(api.endpoint))
    finally:
        file.write_bytes(b"\0" * 5000)
    assert done.returncode == 1
    assert "differs from its list of files" in done.stderr
