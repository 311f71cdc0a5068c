"""The chain from a push to the published sweep, with faults: every revision is evaluated exactly once, nothing loops.

PERMIX_SOAK_CHAINS says how many pushes (50 before a release).
"""

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

from huggingface_hub import CommitOperationAdd, HfApi

from permix import files
from permix.embedded_hub import launch
from tests import scripted_github
from tests.conftest import permix
from tests.engines.test_transformers_sampler import make_adapter
from tests.kills import hub_of
from tests.scripted_github import TOKEN, GitHub
from tests.spaces.test_relay import SECRET, send, told
from tests.tiny_model import make_tiny_model

CHAINS = int(os.environ.get("PERMIX_SOAK_CHAINS", "4"))
ADAPTER, SWEEP = "me/soak", "results/permix-sweep-tiny-soak"
FAILURES = [(500, {}), (429, {"Retry-After": "1"}), (502, {}), (403, {})]


class Relay:
    """The Space at one address, to be killed and started again."""

    def __init__(self, folder: Path, api: HfApi, github: GitHub) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        own = {"WEBHOOK_SECRET": SECRET, "PERMIX_WATCHED": ADAPTER, "GITHUB_REPOSITORY": "lab/permix"}
        own |= {"GITHUB_API_URL": github.url, "GITHUB_TOKEN": TOKEN, "RELAY_STATE": str(folder / "relay.db")}
        own |= {"HF_ENDPOINT": str(api.endpoint), "HF_TOKEN": str(api.token), "GRADIO_SERVER_NAME": "127.0.0.1"}
        self.environment = os.environ | own | {"GRADIO_SERVER_PORT": str(self.port)}
        self.log = (folder / "relay.log").open("ab")
        self.start()

    def start(self) -> None:
        command = [sys.executable, str(files.SPACES / "permix-relay" / "app.py")]
        self.child = subprocess.Popen(command, env=self.environment, stdout=self.log, stderr=self.log)
        while not self.answers():
            assert self.child.poll() is None, "the relay does not start"
            time.sleep(0.05)

    def answers(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def kill(self) -> None:
        self.child.kill()
        self.child.wait()


def push(api: HfApi, config: Path, number: int) -> str:
    """Other weights: the same matrices with another factor."""
    content = json.dumps(json.loads(config.read_text()) | {"lora_alpha": 100 + number}).encode()
    added = [CommitOperationAdd("adapter_config.json", content)]
    return str(api.create_commit(ADAPTER, added, commit_message=f"weights {number}").oid)


def evaluate(home: Path, api: HfApi, revision: str, fault: str) -> None:
    """What the workflow does for a dispatch, started again until it is done."""
    few = ("--runs", "1", "--limit", "1", "--max-tokens", "4", "--benchmark", "arithmetic", "--recipe", "smoke")
    where = ("--on", "jobs", "--set", "org=results")
    command = ["sweep", "--base", "me/tiny", "--adapter", f"{ADAPTER}@{revision}", *few, *where]
    if fault in ("killed command", "killed job"):
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "PERMIX_"))}
        begun = subprocess.Popen(
            [sys.executable, "-m", "permix", *command],
            env=kept | {"PERMIX_HOME": str(home)},
            cwd=home,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert begun.stderr
        job = next((line.split()[1] for line in begun.stderr if line.startswith("Job ") and " makes " in line), "")
        if fault == "killed job" and job:
            api.cancel_job(job_id=job, namespace="results")
        else:
            begun.send_signal(signal.SIGKILL)
        begun.communicate()
    permix(home, *command)


def test_every_push_is_evaluated_exactly_once(tmp_path: Path) -> None:
    home = tmp_path / "home"
    make_tiny_model(tmp_path / "base")
    make_adapter(tmp_path / "base", tmp_path / "lora", seed=1)
    permix(home, "hub", "import", str(tmp_path / "base"), "me/tiny")
    permix(home, "hub", "import", str(tmp_path / "lora"), ADAPTER)
    permix(home, "personas", "--recipe", "smoke", "--set", "org=results")
    hub, dice = hub_of(home), random.Random(0)
    launch.allow_jobs(home / "hub")
    with scripted_github.serve() as github, ExitStack() as stack:
        relay = Relay(tmp_path, hub.api, github)
        stack.callback(relay.log.close)
        stack.callback(relay.kill)
        github.wait_for(1)
        watched = [{"type": "model", "name": ADAPTER}]
        hub.api.create_webhook(url=f"{relay.url}/webhook", watched=watched, domains=["repo"], secret=SECRET)
        first = github.evaluations[0][1]
        evaluate(home, hub.api, first, "")
        revisions = [first]
        for number in range(CHAINS):
            fault = ("killed command", "killed job", "failing GitHub", "killed relay", "none")[number % 5]
            if fault == "failing GitHub":
                with github.changed:
                    github.failing = dice.choices(FAILURES, k=3)
            if fault == "killed relay":
                relay.kill()
            revisions.append(push(hub.api, tmp_path / "lora" / "adapter_config.json", number))
            if fault == "killed relay":
                relay.start()
            for _ in range(dice.randrange(1, 5)):  # duplicates, and webhooks that come late
                assert send(relay.url, told(ADAPTER))[0] == 202
            github.wait_for(len(revisions))
            evaluate(home, hub.api, revisions[-1], fault)
            card = f"---\nlicense: mit\n---\n# Results {number}\n".encode()
            hub.api.create_commit(ADAPTER, [CommitOperationAdd("README.md", card)], commit_message="card")
            evaluate(home, hub.api, revisions[-1], "")  # GitHub may deliver a dispatch twice
        assert send(relay.url, told(ADAPTER))[0] == 202
        relay.kill()
        relay.start()  # it looks at everything once more
        time.sleep(5)  # nothing is to come: there is no event to wait for
    assert github.evaluations == [(ADAPTER, revision) for revision in revisions]
    made = [
        one.title for one in hub.api.list_repo_commits(SWEEP, repo_type="dataset") if one.title.startswith("sweep:")
    ]
    assert len(made) == len(set(made)) == len(revisions)
    print(f"\n{len(revisions)} revisions, {github.asked} requests to GitHub, {len(made)} sweeps")
