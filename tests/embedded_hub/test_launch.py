"""One server per data directory: found, started, abandoned and killed in every order."""

import fcntl
import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from huggingface_hub import HfApi

from embedded_hub import launch
from embedded_hub.errors import ServerError
from tests.support.servers import stop
from tests.support.waiting import wait_until
from tests.support.wire import PIPELINES, Wire

ATTACH = """
import sys, time
from pathlib import Path
from embedded_hub import launch
found = launch.attach(Path(sys.argv[1]), 0)
print(found.url, flush=True)
time.sleep(float(sys.argv[2]))
"""


def process(root: Path, seconds: float, linger: str = "10") -> "subprocess.Popen[str]":
    environment = os.environ | {"PYTHONPATH": str(PIPELINES), "PERMIX_HUB_LINGER": linger}
    command = [sys.executable, "-c", ATTACH, str(root), str(seconds)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)


def pid(root: Path) -> int:
    return int(json.loads((root / "server.json").read_text())["pid"])


def test_processes_that_attach_at_once_share_one_server(root: Path) -> None:
    started = [process(root, 0.5) for _ in range(5)]
    urls = {child.communicate(timeout=30)[0].strip() for child in started}
    assert len(urls) == 1
    assert urls.pop().startswith("http://127.0.0.1:")


def test_the_server_leaves_when_nobody_uses_it_even_if_its_users_were_killed(root: Path) -> None:
    user = process(root, 60, linger="0.3")
    assert user.stdout
    assert user.stdout.readline()
    time.sleep(1)
    assert launch.held(root / "server.lock")  # in use
    user.kill()
    user.communicate()
    wait_until(lambda: not launch.held(root / "server.lock"))
    assert not (root / "server.json").exists()


def test_a_killed_server_is_noticed_and_its_data_and_token_are_kept(root: Path) -> None:
    first = launch.attach(root, 0)
    HfApi(endpoint=first.url, token=first.token).create_repo("lab/kept")
    stop(root, signal.SIGKILL)
    assert (root / "server.json").exists()  # what a kill leaves behind
    second = launch.attach(root, 0)
    assert second.token == first.token
    assert HfApi(endpoint=second.url, token=second.token).repo_exists("lab/kept")


def test_another_hub_on_the_remembered_port_is_not_mistaken_for_ours(root: Path, running: launch.Running) -> None:
    launch.attach(root, 0)
    stop(root, signal.SIGKILL)
    stale = json.loads((root / "server.json").read_text()) | {"port": int(running.url.rsplit(":", 1)[1])}
    (root / "server.json").write_text(json.dumps(stale))
    assert launch.attach(root, 0).url != running.url


def test_a_taken_port_is_an_error_when_asked_for_and_else_avoided(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from embedded_hub import server

    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        with pytest.raises(ServerError, match=f"cannot listen on port {taken}: another program listens there"):
            launch.attach(root, taken)
        monkeypatch.setattr(server, "DEFAULT_PORT", taken)
        with server._listen(None) as free:
            assert free.getsockname()[1] != taken


def serving(root: Path, linger: str = "10") -> "subprocess.Popen[str]":
    """The server in the foreground on a free port, its stderr with its stdout."""
    environment = os.environ | {"PYTHONPATH": str(PIPELINES), "PERMIX_HUB_LINGER": linger}
    command = [sys.executable, "-m", "embedded_hub", "--port", "0", "--root", str(root)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def test_a_server_waits_for_a_server_that_lingers_and_keeps_out_a_second_one(root: Path) -> None:
    user = process(root, 0, linger="0.5")
    user.communicate(timeout=30)
    first = serving(root, linger="0.5")
    assert first.stdout
    lines = [first.stdout.readline()]
    lines += [first.stdout.readline()] if lines[0].startswith("Waiting for the end of the embedded Hub") else []
    address = re.search(r"listens on (http://127\.0\.0\.1:\d+)", lines[-1])
    assert address, lines
    second = serving(root)
    message = second.communicate(timeout=30)[0]
    assert second.returncode == 1
    assert message.count("\n") == 1
    assert f"is already running at {address[1]}: use that address, or press Ctrl-C where it was started" in message
    first.send_signal(signal.SIGINT)
    first.communicate(timeout=30)


def test_a_server_waits_for_a_server_that_leaves_and_has_said_so(root: Path) -> None:
    """An ending server deletes its address before it has ended."""
    from embedded_hub import server

    root.mkdir(parents=True)
    last = os.open(root / "server.lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(last, fcntl.LOCK_EX)
    threading.Timer(1, os.close, [last]).start()
    server._lock(root)
    assert launch.held(root / "server.lock")


def test_a_server_is_refused_while_a_command_uses_it(running: launch.Running, monkeypatch: pytest.MonkeyPatch) -> None:
    from embedded_hub import server

    monkeypatch.setattr(server, "LINGER", -10)
    with pytest.raises(ServerError, match=f"is already running at {running.url}, started by another command"):
        server.run(running.root, 0, leased=False)


def test_a_lost_token_file_is_replaced_and_the_old_token_is_worthless(root: Path) -> None:
    old = launch.attach(root, 0)
    stop(root)
    (root / "token").unlink()
    new = launch.attach(root, 0)
    assert new.token != old.token
    assert stat.S_IMODE((root / "token").stat().st_mode) == 0o600
    port = int(new.url.rsplit(":", 1)[1])
    assert Wire(port, new.token)("GET", "/api/whoami-v2").json["name"] == "permix"
    assert Wire(port, old.token)("GET", "/api/whoami-v2").status == 401


def test_the_environment_is_without_another_token_cache_or_hub(
    running: launch.Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = "HF_TOKEN HUGGING_FACE_HUB_TOKEN HF_HUB_OFFLINE HF_HUB_CACHE HF_TOKEN_PATH HF_ENDPOINT"
    for name in names.split():
        monkeypatch.setenv(name, "hf_real")
    monkeypatch.delenv("HF_HUB_DISABLE_XET", raising=False)
    variables = launch.environment(running, tmp_path)
    assert "hf_real" not in variables.values()
    assert (variables["HF_ENDPOINT"], variables["HF_TOKEN"]) == (running.url, running.token)
    assert variables["HF_HOME"] == str(tmp_path / "hf")
    assert variables["PATH"] == os.environ["PATH"]
    assert "HF_HUB_DISABLE_XET" not in variables  # clients keep their defaults


def test_launch_imports_nothing_of_the_server(tmp_path: Path) -> None:
    heavy = "starlette uvicorn dulwich huggingface_hub sqlite3 asyncio yaml"
    program = f"import sys, embedded_hub.launch; print([n for n in {heavy.split()!r} if n in sys.modules])"
    environment = os.environ | {"PYTHONPATH": str(PIPELINES)}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_a_server_in_the_foreground_says_where_it_is_and_ends_in_good_order(root: Path, how: signal.Signals) -> None:
    program = "import sys, pathlib, embedded_hub.server as server; server.run(pathlib.Path(sys.argv[1]), 0)"
    environment = os.environ | {"PYTHONPATH": str(PIPELINES)}
    with subprocess.Popen(
        [sys.executable, "-c", program, str(root)], env=environment, stdout=subprocess.PIPE
    ) as server:
        assert server.stdout
        address = server.stdout.readline().decode().split("listens on ")[1].split(" ")[0]
        assert launch.attach(root).url == address
        server.send_signal(how)
        assert server.wait(10) == 0
    assert not (root / "server.json").exists()


def test_a_server_outlives_its_starter_without_its_secrets(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    launch.attach(root, 0)
    environment = Path(f"/proc/{pid(root)}/environ").read_bytes()
    assert b"PATH=" in environment
    assert b"sk-secret" not in environment


def test_hosts_without_a_proxy_stay_such(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.setenv("NO_PROXY", "10.0.0.5,localhost")
    variables = launch.environment(launch.Running("http://127.0.0.1:1", "t", tmp_path), tmp_path)
    assert variables["no_proxy"] == variables["NO_PROXY"] == "127.0.0.1,localhost,10.0.0.5"
