"""Large files: a killed download resumes inside a file, and every failure is one sentence."""

import hashlib
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import file_download

from permix.errors import PermixError
from permix.publishing import downloads, mirror
from permix.publishing.downloads import LargeFile
from permix.publishing.hub import Hub
from permix.run_record import sha256
from tests.support.servers import answering
from tests.support.wire import PIPELINES

CONTENT = bytes(range(256)) * 4000
FETCH = """
import os, sys
from pathlib import Path
from permix.publishing import downloads
from permix.publishing.hub import Hub
def update(self, size):
    self._arrived += size
    if self._arrived > 15_000_000 and sys.argv[4] == "kill":
        os.kill(os.getpid(), 9)
downloads._Lines.update = update
hub = Hub(sys.argv[1], sys.argv[2], Path(sys.argv[3]), embedded=True)
print(hub.fetch(hub.state("download-tests/killed")))
"""


@pytest.fixture
def file(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LargeFile:
    """A file of a repository, large by this test's limit and without Xet."""
    monkeypatch.setattr(downloads, "LARGE", 1000)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "w.bin").write_bytes(CONTENT)
    hub.publish("download-tests/r", tmp_path / "out", "m", hub.state("download-tests/r"))
    return LargeFile("w.bin", sha256(tmp_path / "out" / "w.bin"), len(CONTENT), tmp_path / "blobs" / "w")


def fetch(hub: Hub, file: LargeFile) -> None:
    with hub.sentences("download download-tests/r"):
        downloads.large_files(hub.api, "model", "download-tests/r", "main", [file])


def test_a_download_resumes_where_it_was_interrupted(
    hub: Hub, file: LargeFile, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    starts: list[int] = []
    http_get = file_download.http_get

    def recorded(*arguments: Any, resume_size: int, **settings: Any) -> None:
        starts.append(resume_size)
        http_get(*arguments, resume_size=resume_size, **settings)

    monkeypatch.setattr(file_download, "http_get", recorded)
    file.part.parent.mkdir()
    file.part.write_bytes(CONTENT[: len(CONTENT) // 4])
    fetch(hub, file)
    assert file.target.read_bytes() == CONTENT
    assert starts == [len(CONTENT) // 4]
    assert "Resuming w.bin of download-tests/r at 25%." in capsys.readouterr().err
    fetch(hub, file)
    assert len(starts) == 1
    assert not file.part.exists()


def test_a_mirror_downloads_a_large_file_once(
    hub: Hub, file: LargeFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths: list[str] = []
    http_get = file_download.http_get

    def recorded(url: str, *arguments: Any, **settings: Any) -> None:
        paths.append(url.rpartition("/")[2])
        http_get(url, *arguments, **settings)

    monkeypatch.setattr(file_download, "http_get", recorded)
    commit = hub.api.repo_info("download-tests/r").sha
    files = mirror._files(hub.api, "model", "download-tests/r", commit)
    mirror._fetch(hub.api, "model", "download-tests/r", commit, files, tmp_path / "mirror")
    assert paths.count("w.bin") == 1
    assert (tmp_path / "mirror" / "w.bin").read_bytes() == CONTENT


def test_bytes_that_are_damaged_are_downloaded_again(hub: Hub, file: LargeFile) -> None:
    file.part.parent.mkdir()
    file.part.write_bytes(b"x" * 1000)
    with pytest.raises(PermixError, match=r"w.bin of download-tests/r arrived damaged: run the command again\."):
        fetch(hub, file)
    file.part.write_bytes(b"x" * (len(CONTENT) + 1))
    fetch(hub, file)
    assert file.target.read_bytes() == CONTENT


def test_a_disk_without_room_is_said_with_the_need(hub: Hub, file: LargeFile, monkeypatch: pytest.MonkeyPatch) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, limits[1]))
    try:
        with pytest.raises(PermixError, match=r"download-tests/r needs 0\.0 GB more on the disk of .*: make room"):
            fetch(hub, file)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    usage = type("Usage", (), {"free": 10})
    monkeypatch.setattr("permix.publishing.downloads.shutil.disk_usage", lambda _: usage)
    with pytest.raises(PermixError, match=r"and 0\.0 GB are free: make room, or choose another disk"):
        fetch(hub, file)


@contextmanager
def cutting(start: bytes) -> Iterator[str]:
    """A server that sends `start` as the beginning of a file and closes the connection, each time."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    connection.recv(65536)
                    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(CONTENT) + start)

        threading.Thread(target=serve, daemon=True).start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)


def test_a_server_that_cuts_the_download_is_one_sentence_and_the_bytes_stay(
    file: LargeFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(file_download.time, "sleep", lambda _: None)
    with cutting(CONTENT[:70_000]) as url:
        cut = Hub(url, "hf_mine", tmp_path, embedded=False)
        capfd.readouterr()
        sentence = rf"w\.bin of download-tests/r arrived up to \d+%, then {url} stopped answering: .* command resumes\."
        with pytest.raises(PermixError, match=sentence):
            fetch(cut, file)
    assert capfd.readouterr().err == ""


def test_the_token_follows_no_redirect_of_a_large_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downloads, "LARGE", 1)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
    file = LargeFile("a", hashlib.sha256(b"hi").hexdigest(), 2, tmp_path / "a")
    with answering(lambda _: (200, "hi", {})) as (storage, storage_requests):
        redirect = answering(lambda path: (302, "", {"Location": f"{storage}{path}"}))
        with redirect as (url, hub_requests):
            hub = Hub(url, "hf_mine", tmp_path, embedded=False)
            downloads.large_files(hub.api, "model", "me/x", "0" * 40, [file])
    assert file.target.read_bytes() == b"hi"
    assert {token for _, token in hub_requests} == {"Bearer hf_mine"}
    assert {token for _, token in storage_requests} == {None}


def test_a_killed_fetch_resumes_inside_the_file(hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "w.bin").write_bytes(os.urandom(30_000_000))
    hub.publish("download-tests/killed", tmp_path / "out", "m", None)
    words = [sys.executable, "-c", FETCH, hub.endpoint, str(hub.token), str(tmp_path / "cache")]
    environment = os.environ | {"PYTHONPATH": str(PIPELINES), "HF_HUB_DISABLE_XET": "1"}
    killed = subprocess.run([*words, "kill"], env=environment, capture_output=True, text=True)
    assert killed.returncode == -signal.SIGKILL
    again = subprocess.run([*words, "stay"], env=environment, capture_output=True, text=True)
    assert "Resuming w.bin of download-tests/killed at 3" in again.stderr
    folder = Path(again.stdout.strip())
    assert (folder / "w.bin").read_bytes() == (tmp_path / "out" / "w.bin").read_bytes()
    assert not list((tmp_path / "cache").rglob("*.part"))
