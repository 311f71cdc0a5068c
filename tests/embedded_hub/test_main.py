"""`python -m embedded_hub`: its options, its exit codes, and the one sentence of an error."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from huggingface_hub import HfApi

from tests.support.cases import cases
from tests.support.wire import PIPELINES

COMMAND = [sys.executable, "-m", "embedded_hub"]
ENVIRONMENT = os.environ | {"PYTHONPATH": str(PIPELINES), "COLUMNS": "120"}


def run(*options: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([*COMMAND, *options], env=ENVIRONMENT, capture_output=True, text=True, timeout=60)


def test_it_prints_its_address_and_runs_jobs_where_that_is_allowed(root: Path) -> None:
    options = ["--root", str(root), "--port", "0", "--jobs", "--webhooks-to", "Hooks.example:8080"]
    with subprocess.Popen([*COMMAND, *options], env=ENVIRONMENT, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout
        line = server.stdout.readline()
        address = f"http://127.0.0.1:{json.loads((root / 'server.json').read_text())['port']}"
        assert line == f"The embedded Hub of {root} listens on {address} (Ctrl-C ends it).\n"
        api = HfApi(endpoint=address, token=(root / "token").read_text().strip())
        job = api.run_job(image="python:3.12", command=["python", "-c", "print('ran')"], namespace="permix")
        assert "ran\n" in list(api.fetch_job_logs(job_id=job.id, follow=True, namespace="permix"))
        watched = [{"type": "user", "name": "permix"}]
        webhook = api.create_webhook(url="http://hooks.example:8080/x", watched=watched)
        assert webhook.url == "http://hooks.example:8080/x"
        server.send_signal(signal.SIGINT)
        assert server.wait(10) == 0


def test_help_names_every_option_and_the_danger_of_jobs() -> None:
    shown = run("--help")
    assert shown.returncode == 0
    for words in ("--root DIR", "--port N", "--jobs", "--webhooks-to HOST[:PORT]", "--leased", "can then execute code"):
        assert words in shown.stdout


@pytest.mark.parametrize(("options", "sentence"), cases(__file__)["refusals"])
def test_a_wrong_option_is_one_sentence(root: Path, tmp_path: Path, options: list[str], sentence: str) -> None:
    (tmp_path / "file").touch()
    refused = run(*(option.format(root=root, file=tmp_path / "file") for option in options))
    assert refused.returncode == 2
    assert refused.stderr.count("\n") == 1
    assert sentence in refused.stderr


def test_data_of_another_format_is_one_sentence_and_exit_code_1(root: Path) -> None:
    root.mkdir()
    (root / "format").write_text("2\n")
    refused = run("--root", str(root), "--port", "0")
    assert refused.returncode == 1
    assert not (root / "hub.db").exists()
    assert (
        refused.stderr == f"The embedded Hub's data in {root} has format 2, but this version reads 1: update permix.\n"
    )
