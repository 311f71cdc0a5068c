"""spaces/permix-relay between the embedded Hub and a scripted GitHub, over HTTP."""

import json
import subprocess
import sys
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import CommitOperationAdd, HfApi

from permix import files
from tests.support import hubs, scripted_github
from tests.support.relay import SECRET, relay, send, state
from tests.support.scripted_github import TOKEN, GitHub

_numbers = count()


@pytest.fixture(scope="module")
def api() -> HfApi:
    hub = hubs.embedded(Path("unused"))
    return HfApi(endpoint=hub.endpoint, token=hub.token)


@pytest.fixture
def github() -> Iterator[GitHub]:
    with scripted_github.serve() as github:
        yield github


def push(api: HfApi, adapter: str, path: str = "adapter_model.safetensors") -> str:
    """Change one file of an adapter; return the commit."""
    api.create_repo(adapter, exist_ok=True)
    added = CommitOperationAdd(path, f"---\nlicense: mit\n---\n{next(_numbers)}".encode())
    return str(api.create_commit(adapter, [added], commit_message="m").oid)


def webhook(adapter: str, kind: str = "model", scope: str = "repo.content") -> dict[str, Any]:
    """A webhook of the Hub; the relay trusts only the name in it."""
    return {"event": {"action": "update", "scope": scope}, "repo": {"type": kind, "name": adapter, "headSha": "0" * 40}}


def test_new_weights_are_dispatched_once_and_a_new_card_never(api: HfApi, github: GitHub, tmp_path: Path) -> None:
    other = "relay/other"
    first, second = push(api, "relay/one"), push(api, other)
    with relay(api, github, tmp_path, "relay/one", other) as address:
        github.wait_for(2)  # pushed before its start
        assert sorted(github.evaluations) == [("relay/one", first), (other, second)]
        path, body = github.taken[0]
        assert path == "/repos/lab/permix/dispatches"
        assert body["event_type"] == "hub-model-updated"
        push(api, "relay/one")
        for _ in range(3):  # replays
            assert send(address, webhook("relay/one"))[0] == 202
        for path in ("README.md", "run.json", ".eval_results/permix.yaml"):
            push(api, "relay/one", path)
            assert send(address, webhook("relay/one"))[0] == 202
        last = push(api, other)
        assert send(address, webhook(other))[0] == 202
        github.wait_for(4)
        assert [name for name, _ in github.evaluations[2:]] == ["relay/one", other]
        assert github.evaluations[3][1] == last
        page = state(address)
    assert [row["adapter"] for row in page["watched"]] == ["relay/one", other]
    public = json.dumps(page) + (tmp_path / "stderr").read_text()
    assert TOKEN not in public
    assert SECRET not in public


def test_other_requests_do_not_reach_github(api: HfApi, github: GitHub, tmp_path: Path) -> None:
    with relay(api, github, tmp_path, "relay/none-yet") as address:
        known = webhook("relay/none-yet")
        assert send(address, known, secret="a secret of the webhoop")[0] == 401
        assert (send(address, known, secret="")[0], send(address, b"x" * (2 << 20))[0]) == (401, 413)
        for odd in (b"", b"{}", b"[]", b"[" * 100_000, {"event": 1, "repo": []}, webhook(["x"])):  # type: ignore[arg-type]
            assert send(address, odd)[0] == 400
        for other in (
            webhook("relay/unknown"),
            webhook("relay/none-yet", "dataset"),
            webhook("relay/none-yet", scope="discussion"),
        ):
            assert send(address, other) == (200, {"said": "not watched"})
        assert send(address, known)[0] == 202
        assert github.requests == 0


def test_a_flood_is_refused_and_gives_one_dispatch(api: HfApi, github: GitHub, tmp_path: Path) -> None:
    push(api, "relay/flood")
    with relay(api, github, tmp_path, "relay/flood", RELAY_PER_MINUTE="20") as address:
        strangers = [send(address, webhook("relay/flood"), secret="x" * 32)[0] for _ in range(60)]
        answers = [send(address, webhook("relay/flood"))[0] for _ in range(60)]
        assert set(strangers) == {401}
        github.wait_for(1)
        assert (set(answers), answers[:20]) == ({202, 429}, [202] * 20)
        assert answers.count(202) < 30
    assert len(github.taken) == 1


def test_a_dispatch_survives_failures_of_github_and_a_killed_relay(api: HfApi, github: GitHub, tmp_path: Path) -> None:
    sha = push(api, "relay/kept")
    github.failing = [(500, {}), (429, {"Retry-After": "1"}), (403, {}), *[(503, {})] * 1000]
    with relay(api, github, tmp_path, "relay/kept"), github.changed:
        assert github.changed.wait_for(lambda: github.requests >= 3, 60)
    assert github.taken == []
    github.failing = []
    with relay(api, github, tmp_path, "relay/kept"):
        github.wait_for(1)
    with relay(api, github, tmp_path, "relay/kept") as address:  # its disk remembers
        assert (send(address, webhook("relay/kept"))[0], state(address)["watched"][0]["revision"]) == (202, sha)
    assert github.evaluations == [("relay/kept", sha)]


@pytest.mark.parametrize(
    ("variables", "sentence"),
    [
        ({}, "WEBHOOK_SECRET is not set"),
        ({"WEBHOOK_SECRET": "short"}, "less than 16 characters"),
        ({"WEBHOOK_SECRET": SECRET}, "PERMIX_WATCHED is not set"),
    ],
)
def test_a_missing_setting_ends_it_with_a_sentence(variables: dict[str, str], sentence: str, tmp_path: Path) -> None:
    command = [sys.executable, str(files.SPACES / "permix-relay" / "app.py")]
    ended = subprocess.run(command, env=variables, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 1
    assert sentence in ended.stderr
    assert "Traceback" not in ended.stderr
