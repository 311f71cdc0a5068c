"""permix chat, which runs the Space permix-chat as it is published."""

import importlib.util
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from gradio_client import Client

from permix.commands import chat
from permix.errors import BadInput
from tests.support.command_line import environment_of, permix


def test_the_command_serves_what_was_published_and_takes_the_app_with_it(smoke: Path) -> None:
    port = free_port()
    command = [sys.executable, "-m", "permix", "chat", "--org", "permix-smoke", "--no-browser", "--port", str(port)]
    with subprocess.Popen(
        command, env=environment_of(smoke, PYTHONUNBUFFERED="1"), cwd=smoke, stdout=subprocess.PIPE, text=True
    ) as running:
        assert any("Running on local URL" in line for line in running.stdout)
        adapters = Client(f"http://127.0.0.1:{port}", verbose=False).predict(api_name="/adapters")
        repos = {adapter["repo"] for adapter in adapters}
        assert repos == {"permix-smoke/permix-toy-rlvr", "permix-smoke/permix-toy-permix-rlvr"}
        running.send_signal(signal.SIGTERM)
        assert running.wait(30) == 0
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0


def test_the_error_before_anything_is_published_names_the_command(tmp_path: Path) -> None:
    done = permix(tmp_path, "chat", check=False)
    assert done.returncode == 2
    assert "permix has published nothing on" in done.stderr
    assert "`permix run`" in done.stderr


def test_a_port_that_is_taken_is_named() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(BadInput, match=f"Port {port} is in use"):
            chat.chat(port=port)


def test_the_error_without_gradio_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec

    def without(name: str, *rest: Any) -> Any:
        return None if name == "gradio" else find(name, *rest)

    monkeypatch.setattr(importlib.util, "find_spec", without)
    with pytest.raises(BadInput, match=r"needs gradio, which is not installed: pip install 'permix\[apps\]'"):
        chat.chat()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
