"""Large files: complete uploads are stored, others leave nothing, and a sha256 alone does not give access."""

import hashlib
import json
import os
import socket
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import HfApi

from embedded_hub.launch import Running
from tests.support.servers import signature
from tests.support.waiting import wait_until
from tests.support.wire import Wire


def oid(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def announce(wire: Wire, repo: str, content: bytes, operation: str = "upload") -> Any:
    order = {"operation": operation, "objects": [{"oid": oid(content), "size": len(content)}]}
    return wire("POST", f"/{repo}.git/info/lfs/objects/batch", order).json["objects"][0]


def use(wire: Wire, repo: str, sha256: str, **more: Any) -> Any:
    value = {"path": "w.bin", "algo": "sha256", "oid": sha256, **more}
    lines = [{"key": "header", "value": {"summary": "s"}}, {"key": "lfsFile", "value": value}]
    return wire("POST", f"/api/models/{repo}/commit/main", b"\n".join(json.dumps(line).encode() for line in lines))


def begun(wire: Wire, href: str, content: bytes, length: int) -> socket.socket:
    """An upload of which only the first `length` bytes have been sent."""
    line = socket.create_connection(("127.0.0.1", wire.port))
    path = href.split(str(wire.port), 1)[1]
    line.sendall(f"PUT {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(content)}\r\n\r\n".encode())
    line.sendall(content[:length])
    return line


def test_upload_verify_commit_and_fetch_again_by_git_lfs(wire: Wire, anonymous: Wire, repo: str) -> None:
    content = os.urandom(100_000)
    actions = announce(wire, repo, content)["actions"]
    assert anonymous("PUT", actions["upload"]["href"], content).status == 200  # as the client: without its token
    known = {"oid": oid(content), "size": len(content)}
    assert wire("POST", actions["verify"]["href"], known).status == 200
    assert "actions" not in announce(wire, repo, content)
    assert use(wire, repo, oid(content), size=len(content)).status == 200
    fetched = announce(wire, repo, content, "download")["actions"]["download"]["href"]
    assert anonymous("GET", fetched).body == content


def test_wrong_content_is_refused_and_leaves_nothing(wire: Wire, repo: str, running: Running) -> None:
    content = os.urandom(5000)
    href = announce(wire, repo, content)["actions"]["upload"]["href"]
    for wrong in (content[:-1], content + b"x", b"\0" * 5000, b""):
        assert wire("PUT", href, wrong).status == 400
    assert use(wire, repo, oid(content)).status == 400
    assert not list((running.root / "lfs" / "incoming").iterdir())
    assert not (running.root / "lfs" / oid(content)[:2] / oid(content)[2:4] / oid(content)).exists()
    assert wire("PUT", href, content).status == 200


def test_an_upload_that_breaks_off_leaves_nothing(wire: Wire, repo: str, running: Running) -> None:
    content = os.urandom(50_000)
    href = announce(wire, repo, content)["actions"]["upload"]["href"]
    with begun(wire, href, content, 20_000):
        time.sleep(0.2)
    wait_until(lambda: not list((running.root / "lfs" / "incoming").iterdir()), every=0.02)
    assert use(wire, repo, oid(content)).status == 400


def test_a_hundred_clients_that_stop_halfway_hold_up_nobody(wire: Wire, repo: str) -> None:
    content = os.urandom(3_000_000)
    href = announce(wire, repo, content)["actions"]["upload"]["href"]
    with ExitStack() as stack:
        for _ in range(100):
            stack.enter_context(begun(wire, href, content, 1_200_000))
        started = time.monotonic()
        assert wire("GET", "/api/whoami-v2").status == 200
        assert wire("PUT", href, content).status == 200
        assert time.monotonic() - started < 10
    assert use(wire, repo, oid(content)).status == 200


def test_urls_that_were_changed_or_have_expired_are_refused(wire: Wire, repo: str, running: Running) -> None:
    content = os.urandom(500)
    href = announce(wire, repo, content)["actions"]["upload"]["href"]
    start, end = href.rsplit("/", 1)
    assert wire("PUT", f"{start}/{'0' * 64}", content).status == 403
    later = f"{start.rsplit('/', 1)[0]}/{int(time.time()) + 10**6}/{end}"
    assert wire("PUT", later, content).status == 403
    assert wire("PUT", href.replace(oid(content), oid(b"other")), b"other").status == 403
    assert wire("GET", href.replace("/upload/", "/download/")).status == 403
    text = "upload/" + "/".join(start.rsplit("/", 4)[1:4]) + f"/{int(time.time()) - 1}"
    refused = wire("PUT", f"/api/lfs/{text}/{signature(running.root, text)}", content)
    assert (refused.status, "expired" in refused.json["error"]) == (403, True)


def test_a_known_sha256_opens_nothing_in_another_repository(
    wire: Wire, api: HfApi, running: Running, name: str, token_of: Callable[..., str]
) -> None:
    secret = os.urandom(20_000)
    api.create_repo(name, private=True)
    api.upload_file(path_or_fileobj=secret, path_in_repo="w.bin", repo_id=name)
    thief = Wire(wire.port, token_of("mallory", "write"))
    mallory = HfApi(endpoint=running.url, token=thief.token)
    mallory.create_repo("mallory/r")
    assert "actions" in announce(thief, "mallory/r", secret)  # as if nobody had it
    assert "error" in announce(thief, "mallory/r", secret, "download")
    assert use(thief, "mallory/r", oid(secret), size=len(secret)).status == 400
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{oid(secret)}\nsize {len(secret)}\n".encode()
    mallory.upload_file(path_or_fileobj=pointer, path_in_repo="typed.txt", repo_id="mallory/r")
    assert thief("GET", "/mallory/r/resolve/main/typed.txt").body == pointer


def test_a_size_that_is_not_the_files_own_is_refused(wire: Wire, api: HfApi, repo: str) -> None:
    content = os.urandom(3000)
    api.upload_file(path_or_fileobj=content, path_in_repo="a.bin", repo_id=repo)
    assert use(wire, repo, oid(content), size=2999).status == 400
    assert use(wire, repo, oid(content).upper()).status == 400
    assert use(wire, repo, oid(content)).status == 200


@pytest.mark.parametrize("order", [{"oid": "x", "size": 1}, {"oid": "a" * 64, "size": -1}, {"oid": "a" * 64}, 7, None])
def test_a_malformed_batch_is_refused(wire: Wire, repo: str, order: Any) -> None:
    answer = wire("POST", f"/{repo}.git/info/lfs/objects/batch", {"operation": "upload", "objects": [order]})
    assert answer.status == 422


def test_a_large_file_does_not_fill_the_memory(api: HfApi, repo: str, running: Running, tmp_path: Path) -> None:
    block = os.urandom(1 << 20)
    with (tmp_path / "big.bin").open("wb") as out:
        for _ in range(200):
            out.write(block)
    api.upload_file(path_or_fileobj=tmp_path / "big.bin", path_in_repo="big.bin", repo_id=repo)
    back = api.hf_hub_download(repo, "big.bin", cache_dir=tmp_path / "cache")
    assert Path(back).stat().st_size == 200 << 20
    pid = json.loads((running.root / "server.json").read_text())["pid"]
    status = Path(f"/proc/{pid}/status")
    if status.exists():
        peak = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        assert int(peak.split()[1]) < 250_000
