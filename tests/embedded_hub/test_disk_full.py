"""A full disk: the upload fails with one sentence, nothing is stored in part, and later uploads succeed.

The limit on the size of a file stands for the disk: every write beyond it fails, as on a full one. It is set on the
running server from outside, and taken away again.
"""

import hashlib
import json
import os
import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError

from embedded_hub import launch
from tests.support.cas import Cas, chunk, name_of, sha
from tests.support.servers import stop
from tests.support.wire import Wire


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("full")
    hub = launch.attach(folder, 0)
    HfApi(endpoint=hub.url, token=hub.token).create_repo("lab/r")
    yield folder
    stop(folder, signal.SIGKILL)


@pytest.fixture(scope="module")
def line(root: Path) -> Wire:
    hub = launch.attach(root)
    return Wire.to(hub)


@contextmanager
def full(root: Path, at: int) -> Iterator[None]:
    """Limit every file of the server to `at` bytes."""
    pid = json.loads((root / "server.json").read_text())["pid"]
    before = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (at, before[1]))
    yield
    resource.prlimit(pid, resource.RLIMIT_FSIZE, before)


def href(line: Wire, content: bytes) -> str:
    order = {"operation": "upload", "objects": [{"oid": sha(content), "size": len(content)}]}
    answer: Any = line("POST", "/lab/r.git/info/lfs/objects/batch", order).json["objects"][0]
    return str(answer["actions"]["upload"]["href"])


def incoming(root: Path) -> list[Path]:
    return [path for part in ("lfs", "xorbs") for path in (root / part / "incoming").iterdir()]


def test_an_lfs_upload_fails_with_a_sentence_and_works_later(line: Wire, root: Path) -> None:
    content = os.urandom(3_000_000)
    url = href(line, content)
    with full(root, 1_500_000):
        refused = line("PUT", url, content)
        assert (refused.status, "full" in refused.json["error"]) == (507, True)
        assert line("GET", "/api/models/lab/r").status == 200
    assert not incoming(root)
    assert line("PUT", url, content).status == 200


def test_a_xet_upload_fails_with_a_sentence_and_works_later(line: Wire, root: Path) -> None:
    cas, content = Cas(line, "lab/r"), [os.urandom(100_000) for _ in range(25)]
    whole = b"".join(content)
    file = (sha(whole), [(name_of(*map(chunk, content)), len(whole), 0, 25)])
    with full(root, 1_500_000):
        assert cas.xorb(*map(chunk, content)) == 507
    assert cas.shard(file) == 400
    cas = Cas(line, "lab/r")
    assert cas.xorb(*map(chunk, content)) == 200
    with full(root, 1_500_000):
        assert cas.shard(file) == 507
    assert not incoming(root)
    assert cas.shard(file) == 200


def test_a_commit_fails_with_a_sentence_and_the_branch_stays(line: Wire, root: Path, tmp_path: Path) -> None:
    hub = launch.attach(root)
    api = HfApi(endpoint=hub.url, token=hub.token)
    before = api.model_info("lab/r").sha
    content = os.urandom(3_000_000).hex().encode()
    with full(root, 1_000_000), pytest.raises(HfHubHTTPError, match="full") as refused:
        api.upload_file(repo_id="lab/r", path_or_fileobj=content, path_in_repo="a.txt")
    assert refused.value.response.status_code == 507
    assert api.model_info("lab/r").sha == before
    api.upload_file(repo_id="lab/r", path_or_fileobj=content, path_in_repo="a.txt")
    back = Path(api.hf_hub_download("lab/r", "a.txt", cache_dir=tmp_path))
    assert hashlib.sha256(back.read_bytes()).hexdigest() == sha(content)
