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
import threading
import time
from collections import Counter
from contextlib import ExitStack, suppress
from http.client import HTTPConnection, HTTPException
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from queue import Empty, SimpleQueue

from huggingface_hub import CommitOperationAdd, HfApi

from embedded_hub import launch
from permix import files
from tests.support import scripted_github
from tests.support.command_line import environment_of, permix
from tests.support.hubs import hub_of
from tests.support.kills import kill_job
from tests.support.models import make_adapter, make_tiny_model
from tests.support.relay import SECRET, send, state
from tests.support.scripted_github import LOST, TOKEN, GitHub
from tests.support.servers import listening, reply
from tests.support.waiting import wait_until

CHAINS = int(os.environ.get("PERMIX_SOAK_CHAINS", "4"))
ADAPTER, SWEEP = "me/soak", "results/permix-sweep-tiny-soak"
FAILURES = [(500, {}), (429, {"Retry-After": "1"}), (502, {}), (403, {}), LOST]
FAULTS = ("killed command", "killed job", "cancelled job", "failing GitHub", "killed relay", "none")


class Post:
    """Between the Hub and the relay: takes every webhook, and delivers it later, in any order, once or twice."""

    def __init__(self, relay: str, dice: random.Random) -> None:
        self.relay, self.dice, self.sent = relay, dice, 0
        self.bag: SimpleQueue[tuple[bytes, str]] = SimpleQueue()
        self.waiting = 0
        threading.Thread(target=self._carry, daemon=True).start()

    def take(self, request: BaseHTTPRequestHandler) -> None:
        self.waiting += 1
        body = request.rfile.read(int(request.headers["Content-Length"]))
        self.bag.put((body, request.headers["X-Webhook-Secret"]))
        reply(request, 200, {})

    def _carry(self) -> None:
        while True:
            letters = [self.bag.get()]
            with suppress(Empty):
                while True:  # a short while, so that several come together
                    letters.append(self.bag.get(timeout=self.dice.random()))
            for letter in self.dice.sample(letters, len(letters)):
                for _ in range(self.dice.choice((1, 1, 2, 3))):
                    self._deliver(letter)
                self.waiting -= 1

    def _deliver(self, letter: tuple[bytes, str]) -> None:
        while True:
            with suppress(OSError, HTTPException):
                if send(self.relay, *letter)[0] in (200, 202):
                    self.sent += 1
                    return
            time.sleep(0.1)  # the relay was killed, or has had enough for this minute


class Line:
    """Between the relay and the Hub: one of four answers is a failure, or breaks."""

    def __init__(self, hub: str, dice: random.Random) -> None:
        self.hub, self.dice, self.broken = hub.removeprefix("http://"), dice, 0

    def carry(self, request: BaseHTTPRequestHandler) -> None:
        fault = self.dice.choice((429, 500, 0, *[None] * 9))
        self.broken += fault is not None
        if fault == 0:
            request.close_connection = True
            return
        connection = HTTPConnection(self.hub, timeout=30)
        connection.request("GET", request.path, headers=dict(request.headers.items()))
        response = connection.getresponse()
        body = b"{}" if fault else response.read()
        reply(request, fault or response.status, {"Content-Type": "application/json"}, body)
        connection.close()


class Relay:
    """The Space at one address, to be killed and started again."""

    def __init__(self, folder: Path, hub: str, token: str, github: GitHub) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        own = {"WEBHOOK_SECRET": SECRET, "PERMIX_WATCHED": ADAPTER, "GITHUB_REPOSITORY": "lab/permix"}
        own |= {"GITHUB_API_URL": github.url, "GITHUB_TOKEN": TOKEN, "RELAY_STATE": str(folder / "relay.db")}
        own |= {"HF_ENDPOINT": hub, "HF_TOKEN": token, "GRADIO_SERVER_NAME": "127.0.0.1"}
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
    small = ("--runs", "1", "--limit", "1", "--max-tokens", "4", "--benchmark", "arithmetic", "--recipe", "smoke")
    where = ("--on", "jobs", "--set", "org=results")
    command = ["sweep", "--base", "me/tiny", "--adapter", f"{ADAPTER}@{revision}", *small, *where]
    if fault in ("killed command", "killed job", "cancelled job"):
        begun = subprocess.Popen(
            [sys.executable, "-m", "permix", *command],
            env=environment_of(home),
            cwd=home,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        job = next((line.split()[1] for line in begun.stderr if line.startswith("Job ") and " makes " in line), "")
        assert job
        if fault == "killed command":
            begun.send_signal(signal.SIGKILL)
        elif fault == "cancelled job":
            api.cancel_job(job_id=job, namespace="results")
        else:
            next(line for line in begun.stderr if line.startswith("The embedded Hub runs this job"))
            kill_job(job)
        stderr = begun.communicate()[1]
        assert fault == "killed command" or f"permix: Job {job} ended with " in stderr, stderr
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
        line = Line(hub.endpoint, random.Random(1))
        bad_line = stack.enter_context(listening(lambda request: line.carry(request)))
        relay = Relay(tmp_path, bad_line, str(hub.token), github)
        stack.callback(relay.log.close)
        stack.callback(relay.kill)
        post = Post(relay.url, random.Random(2))
        address = stack.enter_context(listening(lambda request: post.take(request)))
        github.wait_for(1)
        watched = [{"type": "model", "name": ADAPTER}]
        webhook = hub.api.create_webhook(url=address, watched=watched, domains=["repo"], secret=SECRET)
        first = github.evaluations[0][1]
        evaluate(home, hub.api, first, "")
        revisions = [first]
        for number in range(CHAINS):
            fault = FAULTS[number % len(FAULTS)]
            if fault == "failing GitHub":
                with github.changed:
                    github.failing = dice.choices(FAILURES, k=3)
            if fault == "killed relay":
                relay.kill()
            revisions.append(push(hub.api, tmp_path / "lora" / "adapter_config.json", number))
            if fault == "killed relay":
                relay.start()
            with github.changed:
                assert github.changed.wait_for(lambda: (ADAPTER, revisions[-1]) in github.evaluations, 120)
            evaluate(home, hub.api, revisions[-1], fault)
            card = f"---\nlicense: mit\n---\n# Results {number}\n".encode()
            hub.api.create_commit(ADAPTER, [CommitOperationAdd("README.md", card)], commit_message="card")
            evaluate(home, hub.api, revisions[-1], "")  # GitHub may deliver a dispatch twice
        relay.kill()
        relay.start()  # it looks at everything once more
        wait_until(lambda: hub_has_told(hub.api, webhook.id) and not post.waiting)
        wait_until(lambda: not state(relay.url)["watched"][0]["waits"])
    taken = Counter(github.evaluations)
    assert list(taken) == [(ADAPTER, revision) for revision in revisions]
    sweeps = [
        commit.title
        for commit in hub.api.list_repo_commits(SWEEP, repo_type="dataset")
        if commit.title.startswith("sweep:")
    ]
    assert len(sweeps) == len(set(sweeps)) == len(revisions)
    assert sum(taken.values()) - len(taken) <= github.lost, "more than one dispatch for one push"
    print(
        f"\n{len(revisions)} revisions, {post.sent} webhooks delivered, {line.broken} failures of the Hub, "
        f"{github.requests} requests to GitHub of which {github.lost} lost their answer, {len(sweeps)} sweeps"
    )


def hub_has_told(api: HfApi, webhook: str) -> bool:
    """Whether the Hub's outbox is empty."""
    connection = HTTPConnection(api.endpoint.removeprefix("http://"), timeout=30)
    connection.request(
        "GET", f"/api/settings/webhooks/{webhook}/deliveries", headers={"Authorization": f"Bearer {api.token}"}
    )
    deliveries = json.loads(connection.getresponse().read())
    connection.close()
    return all(delivery["state"] == "delivered" for delivery in deliveries)
