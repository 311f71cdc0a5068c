"""Very large files in parts: requested by the server, sent one by one, joined at the end."""

import hashlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import HfApi

from embedded_hub import launch
from tests.support.servers import signature, stop
from tests.support.wire import Wire

SIZE = 1_000_000
CONTENT = os.urandom(2_500_000)
OID = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A Hub that requests parts of 1 MB, with the repository lab/r."""
    folder = tmp_path_factory.mktemp("parts")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PERMIX_HUB_PARTS_FROM", str(SIZE))
        hub = launch.attach(folder, 0)
    HfApi(endpoint=hub.url, token=hub.token).create_repo("lab/r")
    yield folder
    stop(folder, signal.SIGKILL)


@pytest.fixture(scope="module")
def hub(root: Path) -> launch.Running:
    return launch.attach(root)


@pytest.fixture(scope="module")
def line(hub: launch.Running) -> Wire:
    return Wire.to(hub)


def announce(line: Wire, transfers: tuple[str, ...] = ("basic", "multipart"), content: bytes = CONTENT) -> Any:
    oid = hashlib.sha256(content).hexdigest()
    order = {"operation": "upload", "transfers": transfers, "objects": [{"oid": oid, "size": len(content)}]}
    return line("POST", "/lab/r.git/info/lfs/objects/batch", order).json


def test_the_client_sends_large_files_in_parts(hub: launch.Running, root: Path, tmp_path: Path) -> None:
    api = HfApi(endpoint=hub.url, token=hub.token)
    api.create_repo("lab/client")
    for content in (os.urandom(SIZE), os.urandom(SIZE + 1), os.urandom(3 * SIZE), os.urandom(SIZE - 1)):
        api.upload_file(repo_id="lab/client", path_or_fileobj=content, path_in_repo="w.bin")
        back = api.hf_hub_download("lab/client", "w.bin", cache_dir=tmp_path, force_download=True)
        assert Path(back).read_bytes() == content
    assert not list((root / "lfs" / "incoming").iterdir())


def test_parts_may_come_in_any_order_and_again(line: Wire, root: Path) -> None:
    stranger = Wire(line.port, None)
    answer = announce(line)
    upload = answer["objects"][0]["actions"]["upload"]
    parts = {int(key): url for key, url in upload["header"].items() if key.isdigit()}
    assert (answer["transfer"], upload["header"]["chunk_size"], sorted(parts)) == ("multipart", str(SIZE), [1, 2, 3])
    for number in (3, 1, 2, 1):
        sent = stranger("PUT", parts[number], CONTENT[(number - 1) * SIZE : number * SIZE])
        assert sent.status == 200
        assert sent.headers["etag"]
    assert stranger("POST", upload["href"], {"oid": OID, "parts": []}).status == 200
    assert stranger("POST", upload["href"], {}).status == 200  # the client's retry
    assert "actions" not in announce(line)["objects"][0]
    assert (root / "lfs" / OID[:2] / OID[2:4] / OID).read_bytes() == CONTENT


def test_missing_wrong_and_short_parts_are_refused(line: Wire, root: Path) -> None:
    content = os.urandom(2 * SIZE)
    upload = announce(line, content=content)["objects"][0]["actions"]["upload"]
    first, second = upload["header"]["00001"], upload["header"]["00002"]
    assert line("PUT", first, content[: SIZE - 1]).status == 400
    assert line("PUT", first, content[: SIZE + 1]).status == 400
    assert line("PUT", first, content[:SIZE]).status == 200
    assert line("POST", upload["href"], {}).status == 400  # the second is missing
    for number, body in ((first, content[:SIZE]), (second, bytes(SIZE))):
        assert line("PUT", number, body).status == 200
    assert line("POST", upload["href"], {}).status == 400
    oid = hashlib.sha256(content).hexdigest()
    assert line("POST", "/lab/r.git/info/lfs/objects/verify", {"oid": oid, "size": 2 * SIZE}).status == 404
    assert not list((root / "lfs" / "incoming").iterdir())


def test_forged_and_expired_urls_are_refused(line: Wire, root: Path) -> None:
    content = os.urandom(SIZE)
    upload = announce(line, content=content)["objects"][0]["actions"]["upload"]
    part, whole = upload["header"]["00001"], upload["href"]
    for method, url in (("PUT", part), ("POST", whole)):
        assert line(method, f"{url[:-1]}{'0' if url[-1] != '0' else '1'}", content).status == 403
    assert line("PUT", part.replace("/1/", "/2/"), content).status == 403
    assert line("PUT", whole.replace("/complete/", "/part/x/1/"), content).status == 403
    for method, url in (("PUT", part), ("POST", whole)):
        text = f"{url.split('/api/lfs/')[1].rsplit('/', 2)[0]}/{int(time.time()) - 1}"
        answer = line(method, f"/api/lfs/{text}/{signature(root, text)}", content)
        assert (answer.status, "expired" in answer.json["error"]) == (403, True)


def test_a_client_that_knows_only_basic_uploads_gets_those(line: Wire) -> None:
    answer = announce(line, ("basic",), os.urandom(SIZE))
    assert answer["transfer"] == "basic"
    assert "header" not in answer["objects"][0]["actions"]["upload"]


def test_the_parts_of_the_largest_file_are_few_enough(hub: launch.Running, line: Wire) -> None:
    order = {"operation": "upload", "transfers": ["multipart"], "objects": [{"oid": OID[::-1], "size": 1 << 40}]}
    answer = line("POST", "/lab/r.git/info/lfs/objects/batch", order).json
    assert len(answer["objects"][0]["actions"]["upload"]["header"]) <= 10_001
