"""Spaces that really run, as clients start, call, pause and read them."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from huggingface_hub import HfApi, SpaceRuntime
from huggingface_hub.errors import HfHubHTTPError

from embedded_hub import launch
from tests.support.servers import stop
from tests.support.waiting import wait_until
from tests.support.wire import Wire

GRADIO = """
import os
import gradio as gr
print("hello from", os.environ["SPACE_ID"], flush=True)
answer = lambda text: text + os.environ["MARK"] + str(len(os.environ["KEY"]))
demo = gr.Interface(answer, "text", "text", api_name="predict")
demo.launch()
"""
SERVER = """
import http.server, os
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"one")
print("serving", flush=True)
http.server.HTTPServer(("127.0.0.1", int(os.environ["GRADIO_SERVER_PORT"])), Handler).serve_forever()
"""


def new_space(api: HfApi, name: str, app: str, sdk: str = "gradio") -> str:
    api.create_repo(name, repo_type="space", space_sdk=sdk)
    api.upload_file(path_or_fileobj=app.encode(), path_in_repo="app.py", repo_id=name, repo_type="space")
    return name


def settled(api: HfApi, name: str) -> SpaceRuntime:
    return api.wait_for_space(name, timeout=60, poll_interval=0.05)


def test_a_gradio_space_has_its_variables_and_secrets_and_hides_them(working: launch.Running, tmp_path: Path) -> None:
    api = HfApi(endpoint=working.url, token=working.token)
    name = new_space(api, "lab/echo", GRADIO)
    assert api.get_space_runtime(name).stage == "STOPPED"
    api.add_space_variable(name, "MARK", "!", description="what ends a line")
    api.add_space_secret(name, "KEY", "hf_secret")
    assert api.get_space_variables(name)["MARK"].value == "!"
    assert list(api.get_space_secrets(name)) == ["KEY"]
    wire = Wire.to(working)
    assert b"hf_secret" not in wire("GET", f"/api/spaces/{name}/secrets").body
    api.restart_space(name)
    assert settled(api, name).stage == "RUNNING"
    host = api.space_info(name).host
    assert host is not None
    assert host.startswith("http://127.0.0.1:")
    program = (
        f"from gradio_client import Client; print(Client({name!r}, verbose=False).predict('a', api_name='/predict'))"
    )
    environment = launch.environment(working, tmp_path)
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=60)
    assert done.stdout == "a!9\n", done.stderr
    api.pause_space(name)
    assert settled(api, name).stage == "PAUSED"
    assert api.space_info(name).host is None
    assert "hello from lab/echo\n" in list(api.fetch_space_logs(name))


def test_a_push_restarts_a_space_that_runs_and_a_broken_one_says_so(working: launch.Running) -> None:
    api = HfApi(endpoint=working.url, token=working.token)
    name = new_space(api, "lab/plain", SERVER)
    api.restart_space(name)
    first = settled(api, name)
    assert first.stage == "RUNNING"
    assert first.hardware == "cpu-basic"
    host = api.space_info(name).host
    api.upload_file(path_or_fileobj=b"raise SystemExit(3)", path_in_repo="app.py", repo_id=name, repo_type="space")
    broken = settled(api, name)
    assert (broken.stage, broken.raw["errorMessage"]) == ("RUNTIME_ERROR", "Job failed with exit code: 3")
    api.upload_file(path_or_fileobj=SERVER.encode(), path_in_repo="app.py", repo_id=name, repo_type="space")
    assert settled(api, name).stage == "RUNNING"
    assert api.space_info(name).host != host
    api.delete_repo(name, repo_type="space")


def test_a_space_is_made_with_its_values_and_what_cannot_run_says_why(working: launch.Running) -> None:
    api = HfApi(endpoint=working.url, token=working.token)
    api.create_repo(
        "lab/full", repo_type="space", space_sdk="gradio", space_secrets=[{"key": "K", "value": "hf_x"}],
        space_variables=[{"key": "V", "value": "1", "description": "one"}],
    )  # fmt: skip
    assert list(api.get_space_secrets("lab/full")) == ["K"]
    assert api.get_space_variables("lab/full")["V"].description == "one"
    for name, sdk, stage in (("lab/box", "docker", "CONFIG_ERROR"), ("lab/empty", "gradio", "NO_APP_FILE")):
        api.create_repo(name, repo_type="space", space_sdk=sdk)
        api.restart_space(name)
        assert settled(api, name).stage == stage
    with pytest.raises(HfHubHTTPError, match="names like HF_TOKEN"):
        api.add_space_secret("lab/box", "a b", "c")
    with pytest.raises(HfHubHTTPError, match="404"):
        api.delete_space_secret("lab/box", "NONE")


def test_a_space_ends_with_its_server_and_starts_again_with_the_next(tmp_path: Path) -> None:
    root = tmp_path / "hub"
    first = launch.attach(root, 0)
    launch.allow_jobs(root)
    api = HfApi(endpoint=first.url, token=first.token)
    name = new_space(api, "lab/plain", SERVER)
    api.restart_space(name)
    assert settled(api, name).stage == "RUNNING"
    stop(root, signal.SIGKILL)
    folder = next((root / "spaces").iterdir())
    wait_until(lambda: not launch.held(folder / "alive"), every=0.02)
    second = launch.attach(root, 0)
    try:
        assert settled(HfApi(endpoint=second.url, token=second.token), name).stage == "RUNNING"
    finally:
        stop(root)


def test_spaces_are_off_unless_they_are_allowed(api: HfApi, name: str) -> None:
    api.create_repo(name, repo_type="space", space_sdk="gradio")
    with pytest.raises(HfHubHTTPError, match="does not run Jobs and Spaces"):
        api.restart_space(name)
