"""From a push to published results, all over HTTP: webhook, relay, dispatch, workflow, Job; and what starts nothing."""

import json
import os
import re
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import CommitOperationAdd

from embedded_hub import launch
from permix.commands import watch as commands
from permix.errors import BadInput
from tests.support import scripted_github
from tests.support.cases import cases
from tests.support.command_line import permix
from tests.support.forge import Forge
from tests.support.relay import SECRET, relay, state
from tests.support.scripted_github import GitHub
from tests.support.waiting import wait_until

ADAPTER = "me/watched"
SWEEP = "datasets/results/permix-sweep-tiny-watched-me"
SETTINGS = ("--org", "results", "--recipe", "smoke", "--benchmark", "arithmetic", "--limit", "2")


@pytest.fixture(scope="module")
def github() -> Iterator[GitHub]:
    with scripted_github.serve() as github:
        yield github


@pytest.fixture(scope="module")
def adapter(forge: Forge) -> str:
    """An adapter that only these tests push to; its commit."""
    return forge.hub.publish(ADAPTER, forge.adapter, "made", None)


def watch(*arguments: str) -> Any:
    """The command, on the embedded Hub of the tests."""
    return permix(Path(os.environ["PERMIX_HOME"]), "watch", *arguments, PERMIX_WEBHOOK_SECRET=SECRET)


def push(forge: Forge, path: str, change: Callable[[bytes], bytes]) -> str:
    """Change one file of the adapter; the commit."""
    head = forge.state(ADAPTER)
    before = forge.hub.download(f"{ADAPTER}@{head.sha}", path).read_bytes()
    added = [CommitOperationAdd(path, change(before))]
    return str(forge.hub.api.create_commit(ADAPTER, added, commit_message="m").oid)


def other_weights(config: bytes) -> bytes:
    """The same matrices with another factor are another adapter."""
    settings = json.loads(config)
    return json.dumps(settings | {"lora_alpha": settings["lora_alpha"] + 1}).encode()


def delivered(forge: Forge, count: int) -> bool:
    """Whether the one webhook has been told so often, and no message waits."""
    (webhook,) = forge.hub.api.list_webhooks()
    connection = HTTPConnection(forge.hub.endpoint.removeprefix("http://"), timeout=30)
    headers = {"Authorization": f"Bearer {forge.hub.token}"}
    connection.request("GET", f"/api/settings/webhooks/{webhook.id}/deliveries", headers=headers)
    states = [row["state"] for row in json.loads(connection.getresponse().read())]
    connection.close()
    return states.count("delivered") == len(states) == count


def evaluate(forge: Forge, event: dict[str, Any]) -> list[Any]:
    """What GitHub would do with a dispatch; the requests that the workflow found worth a sweep."""
    payload = {"action": event["event_type"], "client_payload": event["client_payload"]}
    return forge.evaluate(payload, variables=forge.variables | {"PERMIX_RUNNER": "job", "PERMIX_FLAVOR": "cpu-basic"})[
        0
    ]


def test_a_push_is_evaluated_once_and_a_card_never(forge: Forge, adapter: str, github: GitHub, tmp_path: Path) -> None:
    launch.allow_jobs(Path(os.environ["PERMIX_HOME"]) / "hub")
    with relay(forge.hub.api, github, tmp_path, ADAPTER) as address:
        assert "pushes go to the relay" in watch(ADAPTER, "--by", "relay", "--url", address, *SETTINGS).stdout
        github.wait_for(1)
        assert github.evaluations == [(ADAPTER, adapter)]
        before = {job.id for job in forge.hub.api.list_jobs(namespace="results")}
        assert len(evaluate(forge, github.taken[0][1])) == 1
        assert forge.artifact(SWEEP).record["inputs"]["adapter"]["revision"] == adapter
        (job,) = (job for job in forge.hub.api.list_jobs(namespace="results") if job.id not in before)
        assert job.status.stage == "COMPLETED"

        (proposed,) = forge.hub.api.get_repo_discussions(ADAPTER)
        forge.hub.api.merge_pull_request(ADAPTER, proposed.num)  # the results: a push of card and results alone
        push(forge, "README.md", lambda card: card + b"\nMore.\n")
        seen = 3  # the pull request's branch, its merge, the card
        wait_until(lambda: delivered(forge, seen) and not state(address)["watched"][0]["waits"])
        assert len(github.taken) == 1

        other = push(forge, "adapter_config.json", other_weights)
        github.wait_for(2)
        assert github.evaluations[1] == (ADAPTER, other)
        lines = watch("--org", "results").stdout
        assert lines.startswith(f"{ADAPTER}  by relay {address}/, enabled, sent on: {other}; last evaluation: {SWEEP}@")
        assert watch(ADAPTER, "--remove").stdout == f"{ADAPTER}: watched no longer\n"
    assert watch().stdout.startswith("Nothing is watched")
    original = (forge.adapter / "adapter_config.json").read_bytes()
    push(forge, "adapter_config.json", lambda _: original)


def test_a_job_of_a_webhook_evaluates_once_and_then_finds_nothing_new(forge: Forge, adapter: str) -> None:
    launch.allow_jobs(Path(os.environ["PERMIX_HOME"]) / "hub")

    def quiet(count: int) -> bool:
        """Whether so many Jobs at least have run, all are over, and the last had nothing to do."""
        jobs = list(forge.hub.api.list_jobs(namespace="results", labels={"permix": "1", "stage": "watch"}))
        stages = [job.status.stage for job in jobs]
        assert "ERROR" not in stages
        if len(jobs) < count or set(stages) != {"COMPLETED"}:
            return False
        last = max(jobs, key=lambda job: str(job.created_at))
        log = forge.hub.api.fetch_job_logs(job_id=last.id, namespace="results")
        return "nothing new, its weights were evaluated already." in "".join(log)

    done = watch(ADAPTER, "--by", "job", *SETTINGS, "--max-cost", "1")
    assert "Every evaluation: 1 Job on cpu-basic" in done.stderr
    assert "pushes start a Job like" in done.stdout
    wait_until(lambda: quiet(1))
    sweep = forge.artifact(SWEEP)
    before = len(list(forge.hub.api.list_jobs(namespace="results", labels={"stage": "watch"})))
    push(forge, "README.md", lambda card: card + b"\nStill more.\n")
    wait_until(lambda: quiet(before + 1))
    assert forge.artifact(SWEEP).sha == sweep.sha
    assert " by Job on cpu-basic, enabled; last evaluation: " in watch("--org", "results").stdout
    watch(ADAPTER, "--remove")
    assert forge.hub.api.list_webhooks() == []


@pytest.mark.parametrize(("options", "sentence"), cases(__file__)["refusals"])
def test_what_cannot_be_watched_is_one_sentence(
    options: dict[str, Any], sentence: str, forge: Forge, adapter: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    where = {"HF_TOKEN": str(forge.hub.token), "HF_HOME": "", "HF_ENDPOINT": forge.hub.endpoint, "GITHUB_TOKEN": ""}
    for name, value in (where | {"HF_HUB_DISABLE_PROGRESS_BARS": "1", "PERMIX_ORG": "", "PERMIX_RECIPE": ""}).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(BadInput, match=re.escape(sentence)):
        settings = {"adapters": [ADAPTER], "org": "results", "recipe": "smoke"}
        commands.watch(**settings | options, hub_url=forge.hub.endpoint)
    assert forge.hub.api.list_webhooks() == []
