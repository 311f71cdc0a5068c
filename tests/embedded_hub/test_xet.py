"""Xet, the default of clients: complete uploads are rebuilt, everything else is refused."""

import os
import random
import struct
import time
from collections.abc import Callable
from pathlib import Path

import lz4.frame
import pytest
from huggingface_hub import HfApi

from embedded_hub.launch import Running
from embedded_hub.store.xet import intact
from embedded_hub.upkeep import fsck
from tests.support.cas import OTHER, Cas, chunk, name_of, sha, shard
from tests.support.servers import signature
from tests.support.wire import Wire


def stored(running: Running, sha256: str) -> bool:
    return (running.root / "lfs" / sha256[:2] / sha256[2:4] / sha256).exists()


def use(wire: Wire, repo: str, sha256: str) -> int:
    head = b'{"key": "header", "value": {"summary": "s"}}\n'
    line = b'{"key": "lfsFile", "value": {"path": "w.bin", "algo": "sha256", "oid": "%s"}}' % sha256.encode()
    return wire("POST", f"/api/models/{repo}/commit/main", head + line).status


CLIENT = """
import os, sys
from pathlib import Path
from huggingface_hub import CommitOperationAdd, HfApi, snapshot_download
api, folder, repo = HfApi(), Path(sys.argv[1]), sys.argv[2]
api.create_repo(repo)
api.upload_folder(repo_id=repo, folder_path=folder)
api.upload_file(repo_id=repo, path_or_fileobj=folder / "random.bin", path_in_repo="again/random.bin")
edited = (folder / "floats.bin").read_bytes()
(folder / "edited.bin").write_bytes(edited[:500_000] + b"new" + edited[500_000:])
api.create_commit(repo, [CommitOperationAdd("edited.bin", folder / "edited.bin")], commit_message="m")
back = Path(snapshot_download(repo))
for path in folder.iterdir():
    assert (back / path.name).read_bytes() == path.read_bytes(), path
assert (back / "again/random.bin").read_bytes() == (folder / "random.bin").read_bytes()
print("HF_HUB_DISABLE_XET" in os.environ, sorted(path.name for path in back.iterdir()))
"""


def floats(count: int) -> bytes:
    numbers = random.Random(0)
    return struct.pack(f"<{count}f", *(numbers.gauss(0, 1) for _ in range(count)))


def test_stock_clients_upload_by_xet(child: Callable[..., str], running: Running, tmp_path: Path) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / "random.bin").write_bytes(os.urandom(300_001))
    (folder / "floats.bin").write_bytes(floats(400_000))
    (folder / "plain.txt").write_text("small")
    (folder / "zeros.bin").write_bytes(bytes(200_000))
    (folder / "empty.bin").write_bytes(b"")
    before = set((running.root / "xorbs").glob("*/*/*"))
    done = child("-c", CLIENT, str(folder), "lab/stock", xet=True)
    assert done.splitlines()[-1].startswith("False ['.gitattributes', 'again', 'edited.bin', 'empty.bin'")
    new = set((running.root / "xorbs").glob("*/*/*")) - before
    sizes = sorted(path.stat().st_size for path in new)
    assert len(sizes) == 2
    assert sizes[0] < 400_000  # of the edited file only what is new was sent
    assert all(map(intact, new))  # the client and we compute the same hashes
    child("-c", CLIENT, str(folder), "lab/other", xet=True)  # the cache of the first is of no use here


def test_files_are_rebuilt_from_chunks_of_every_kind(wire: Wire, repo: str, api: HfApi, tmp_path: Path) -> None:
    parts = [os.urandom(70_000), b"text " * 9000, floats(10_001) + b"abc", b"x"]
    cas = Cas(wire, repo)
    chunks = [chunk(parts[0]), chunk(parts[1], 1), chunk(parts[2], 2), chunk(parts[3])]
    xorb = name_of(*chunks)
    assert cas.xorb(*chunks) == 200
    content = parts[2] + parts[0] + parts[1] + parts[3]
    segments = [(xorb, len(parts[2]), 2, 3), (xorb, len(parts[0] + parts[1]), 0, 2), (xorb, 1, 3, 4)]
    assert cas.shard((sha(content), segments), (sha(parts[3]), [(xorb, 1, 3, 4)])) == 200
    assert use(wire, repo, sha(content)) == 200
    assert Path(api.hf_hub_download(repo, "w.bin", cache_dir=tmp_path)).read_bytes() == content


def test_a_file_that_is_not_what_was_announced_is_refused(wire: Wire, repo: str, running: Running) -> None:
    cas, content = Cas(wire, repo), os.urandom(5000)
    assert cas.xorb(chunk(content)) == 200
    other, xorb = sha(content[:-1]), name_of(chunk(content))
    whole = (xorb, 5000, 0, 1)
    wrong = [[(xorb, 4999, 0, 1)], [whole, whole], [(xorb, 5000, 0, 2)], [(xorb, 5000, 1, 1)], [(xorb, 0, 1, 0)], []]
    for segments in wrong:
        assert cas.shard((sha(content), segments)) == 400, segments
        cas = Cas(wire, repo)  # a missing xorb ends the address
        assert cas.xorb(chunk(content)) == 200
    assert cas.shard((other, [whole])) == 400
    assert not stored(running, sha(content))
    assert not stored(running, other)
    assert use(wire, repo, sha(content)) == 400
    assert not list((running.root / "lfs" / "incoming").iterdir())
    assert cas.shard((sha(content), [whole])) == 200


def test_malformed_xorbs_are_refused_and_leave_nothing(wire: Wire, repo: str, running: Running) -> None:
    cas, content = Cas(wire, repo), b"some text " * 3000
    bomb = lz4.frame.compress(bytes(50 << 20))[:200_000]
    bad = [
        chunk(content)[:-1], chunk(content, 1)[:20], chunk(content, 1, size=len(content) - 1),
        chunk(content, 1, size=len(content) + 1), chunk(content, 0, size=len(content) + 1),
        b"\1" + chunk(content)[1:], chunk(content)[:4] + b"\3" + chunk(content)[5:], chunk(b""), chunk(bytes(200_000)),
        b"\0" + len(bomb).to_bytes(3, "little") + b"\1" + (1000).to_bytes(3, "little") + bomb,
        chunk(b"x") * 20_000, chunk(b"another chunk than its name says"),
    ]  # fmt: skip
    for number, file in enumerate(bad):
        assert cas.xorb(chunk(b"good"), file, name=OTHER) == 400, number
    assert cas.xorb() == cas.xorb(name="0" * 64) == 400
    assert cas.xorb(chunk(b"good"), name="AB" * 32) == cas.xorb(chunk(b"good"), name="..%2f..") == 400
    assert not list((running.root / "xorbs" / "incoming").iterdir())
    assert cas.shard((sha(b"good"), [(OTHER, 4, 0, 1)])) == 400


def test_too_much_is_refused(wire: Wire, repo: str) -> None:
    cas = Cas(wire, repo)
    for path, length in (("/v1/xorbs/default/" + OTHER, 70 << 20), ("/v1/shards", 65 << 20)):
        headers = {"Authorization": f"Bearer {cas.token}", "Content_Length": str(length)}
        assert Wire(wire.port, None)("POST", cas.url + path, b"", **headers).status == 413


def test_fuzzed_shards_and_xorbs_never_break_the_server(wire: Wire, repo: str, running: Running) -> None:
    numbers, content = random.Random(4), [os.urandom(3000), b"abc" * 5000, floats(4000)]
    xorb = b"".join(chunk(piece, scheme) for scheme, piece in enumerate(content))
    name = name_of(xorb)
    whole = [(name, len(content[0]), 0, 1), (name, len(content[1] + content[2]), 1, 3)]
    good = shard([(sha(b"".join(content)), whole), (sha(content[1]), [(name, 15_000, 1, 2)])])
    cas, seen = Cas(wire, repo), set()
    for turn in range(400):
        body, path = (xorb, f"/v1/xorbs/default/{name}") if turn % 2 else (good, "/v1/shards")
        answer = cas(path, damaged(body, numbers))
        assert answer.status in (200, 400), answer.body
        seen.add((turn % 2, answer.status))
        if answer.status == 400 and not turn % 2:
            cas = Cas(wire, repo)
    assert {(0, 400), (1, 400)} <= seen
    for path in (running.root / "lfs").glob("??/??/*"):
        assert sha(path.read_bytes()) == path.name  # whatever was kept is what it says
    for part in ("lfs", "xorbs"):
        assert not list((running.root / part / "incoming").iterdir())
    assert wire("GET", "/api/whoami-v2").status == 200


def damaged(body: bytes, numbers: random.Random) -> bytes:
    data = bytearray(body)
    for _ in range(numbers.choice([1, 1, 2, 8])):
        at = numbers.randrange(len(data))
        match numbers.randrange(4):
            case 0:
                data[at] ^= 1 << numbers.randrange(8)
            case 1:
                data[at : at + numbers.randrange(9)] = numbers.randbytes(4)
            case 2:
                data = data[: at + 1]
            case _:
                data[at : at + 4] = numbers.choice([b"\xff" * 4, bytes(4), b"\0\0\0\x80"])
    return bytes(data)


def test_xorbs_of_one_repository_cannot_be_used_in_another(
    wire: Wire, name: str, api: HfApi, running: Running, token_of: Callable[..., str]
) -> None:
    secret = os.urandom(4000)
    api.create_repo(name, private=True)
    cas = Cas(wire, name)
    file = (sha(secret), [(name_of(chunk(secret)), 4000, 0, 1)])
    assert cas.xorb(chunk(secret)) == 200
    assert cas.shard(file) == 200
    thief = Wire(wire.port, token_of("eve", "write"))
    HfApi(endpoint=running.url, token=thief.token).create_repo("eve/r")
    own = Cas(thief, "eve/r")
    assert own.shard(file) == 400
    assert use(thief, "eve/r", sha(secret)) == 400
    for token in (own.token, thief.token, "", "x", f"{cas.until + 900}-{cas.token.partition('-')[2]}"):
        assert cas("/v1/xorbs/default/" + OTHER, chunk(b"mine"), token).status == 401
    assert thief("GET", f"/api/models/{name}/xet-write-token/main").status == 404
    reader = Wire(wire.port, token_of("rita", "read", orgs=["lab"]))
    assert reader("GET", f"/api/models/{name}/xet-write-token/main").status == 403


def test_a_token_expires(wire: Wire, repo: str, running: Running) -> None:
    cas = Cas(wire, repo)
    assert time.time() < cas.until < time.time() + 3600
    text = f"xet/{cas.url.split('/_xet/')[1]}/{int(time.time()) - 1}"
    old = f"{text.rsplit('/', 1)[1]}-{signature(running.root, text)}"
    refused = cas("/v1/shards", b"", old)
    assert (refused.status, "expired" in refused.json["error"]) == (401, True)


def test_a_deleted_repository_takes_nothing_more(wire: Wire, repo: str, api: HfApi) -> None:
    cas = Cas(wire, repo)
    assert cas.xorb(chunk(b"abc")) == 200
    api.delete_repo(repo)
    assert cas.shard((sha(b"abc"), [(name_of(chunk(b"abc")), 3, 0, 1)])) == 404


@pytest.mark.parametrize("left", [b"abc", b"", b"\0" * 44, b"\xff" * 44, b"12345\2\0\0\0", b"abce"], ids=len)
def test_fsck_names_a_lost_xorb_and_clients_are_sent_on(wire: Wire, repo: str, running: Running, left: bytes) -> None:
    """Possible states after a power cut: a part, nothing, zeros, other bytes, one wrong byte."""
    cas, file = Cas(wire, repo), (sha(b"abcd"), [(name_of(chunk(b"abcd")), 4, 0, 1)])
    assert cas.xorb(chunk(b"abcd")) == 200
    assert Cas(wire, repo).url == cas.url
    path = next((running.root / "xorbs").rglob(f"{cas.url.rsplit('/', 1)[1]}/{file[1][0][0]}"))
    assert intact(path)
    path.write_bytes(left + path.read_bytes()[4:] if len(left) == 4 else left)
    assert any(path.name in finding for finding in fsck.check(running.root).findings)
    assert cas.shard(file) == 400
    fresh = Cas(wire, repo)
    assert fresh.url != cas.url
    assert cas.xorb(chunk(b"abcd")) == 200  # who is under way with the old one can finish
    assert cas.shard(file) == 200
    assert fresh.xorb(chunk(b"abcd")) == 200


def test_unsupported_xet_routes_answer_404(wire: Wire, repo: str) -> None:
    cas = Cas(wire, repo)
    for path in ("/v2/shards", f"/v1/xorb-grants/default/{OTHER}"):
        assert cas(path, b"{}").status == 404
    answer = Wire(wire.port, None)("GET", f"{cas.url}/v1/chunks/default/{OTHER}", Authorization=f"Bearer {cas.token}")
    assert answer.status == 404


def test_downloads_never_go_by_xet(wire: Wire, repo: str, api: HfApi) -> None:
    api.upload_file(path_or_fileobj=os.urandom(20_000), path_in_repo="w.bin", repo_id=repo)
    for method in ("HEAD", "GET"):
        assert "x-xet-hash" not in wire(method, f"/{repo}/resolve/main/w.bin").headers
    assert b"xetHash" not in wire("GET", f"/api/models/{repo}/tree/main").body
