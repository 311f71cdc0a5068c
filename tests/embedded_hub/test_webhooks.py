"""Webhooks, as clients create them, and their real deliveries."""

import functools
import json
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from queue import Queue
from typing import Any

import pytest
from huggingface_hub import HfApi, WebhookPayload, WebhookWatchedItem
from huggingface_hub.errors import HfHubHTTPError

from embedded_hub import launch
from embedded_hub.database import webhooks
from tests.support.cases import cases
from tests.support.servers import listening, reply, stop
from tests.support.waiting import wait_until
from tests.support.wire import Wire


@dataclass
class Target:
    """A server that webhooks call: the received payloads, and the statuses that it answers before 200."""

    url: str = ""
    arrived: "Queue[tuple[str | None, dict[str, Any]]]" = field(default_factory=Queue)
    answers: list[int] = field(default_factory=list)

    def next(self) -> tuple[str | None, dict[str, Any]]:
        """The secret and the payload of the next call."""
        return self.arrived.get(timeout=20)

    def event(self) -> tuple[str, str]:
        """Action and scope of the next call."""
        event = self.next()[1]["event"]
        return event["action"], event["scope"]


@pytest.fixture
def target() -> Iterator[Target]:
    received = Target()

    def called(request: BaseHTTPRequestHandler) -> None:
        body = json.loads(request.rfile.read(int(request.headers["Content-Length"])))
        received.arrived.put((request.headers["X-Webhook-Secret"], body))
        reply(request, received.answers.pop(0) if received.answers else 200, {})

    with listening(called) as address:
        received.url = f"{address}/hook?x=1"
        yield received


def test_a_push_arrives_with_what_the_client_needs_and_the_secret(api: HfApi, repo: str, target: Target) -> None:
    before = api.repo_info(repo).sha
    webhook = api.create_webhook(url=target.url, watched=[{"type": "model", "name": repo}], secret="s3cret")
    done = api.upload_file(path_or_fileobj=b"x", path_in_repo="a", repo_id=repo)
    secret, body = target.next()
    payload = WebhookPayload(**body)
    assert (secret, payload.webhook.id, payload.webhook.version) == ("s3cret", webhook.id, 3)
    assert (payload.event.action, payload.event.scope, payload.repo.name) == ("update", "repo.content", repo)
    assert (payload.repo.type, payload.repo.private, body["repo"]["headSha"]) == ("model", False, done.oid)
    assert body["updatedRefs"] == [{"ref": "refs/heads/main", "oldSha": before, "newSha": done.oid}]
    assert body["repo"]["url"]["web"] == f"{api.endpoint}/{repo}"
    api.create_tag(repo, tag="v1")
    assert target.next()[1]["updatedRefs"] == [{"ref": "refs/tags/v1", "oldSha": None, "newSha": done.oid}]
    api.delete_tag(repo, tag="v1")
    assert target.next()[1]["updatedRefs"] == [{"ref": "refs/tags/v1", "oldSha": done.oid, "newSha": None}]
    api.upload_file(path_or_fileobj=b"x", path_in_repo="a", repo_id=repo)  # changes nothing
    api.delete_webhook(webhook.id)
    assert target.arrived.empty()


def test_the_life_of_a_repository_and_of_a_pull_request_is_told(api: HfApi, name: str, target: Target) -> None:
    org = name.replace("lab/", "org-")
    item = WebhookWatchedItem(type="org", name=org.upper())
    api.create_webhook(url=target.url, watched=[item])
    repo = f"{org}/one"
    api.create_repo(repo, repo_type="dataset")
    assert target.event() == ("create", "repo")
    api.update_repo_settings(repo, repo_type="dataset", private=True)
    assert target.event() == ("update", "repo.config")
    pull_request = api.create_pull_request(repo, title="Better", repo_type="dataset", description="why")
    assert target.event() == ("update", "repo.content")
    _, body = target.next()
    assert (body["event"]["scope"], body["discussion"]["isPullRequest"], body["comment"]["content"]) == (
        "discussion", True, "why",
    )  # fmt: skip
    assert WebhookPayload(**body).discussion.changes.base == "refs/heads/main"  # type: ignore[union-attr]
    api.comment_discussion(repo, pull_request.num, "hm", repo_type="dataset")
    assert target.event() == ("create", "discussion.comment")
    api.change_discussion_status(repo, pull_request.num, "closed", repo_type="dataset")
    _, body = target.next()
    assert (body["event"]["action"], body["discussion"]["status"]) == ("update", "closed")
    api.move_repo(repo, f"{org}/two", repo_type="dataset")
    _, body = target.next()
    assert (body["event"]["action"], body["repo"]["name"], body["movedTo"]["name"]) == ("move", repo, f"{org}/two")
    api.delete_repo(f"{org}/two", repo_type="dataset")
    assert target.event() == ("delete", "repo")


def test_events_of_a_private_repository_stay_private(
    api: HfApi, running: launch.Running, name: str, target: Target, token_of: Callable[..., str]
) -> None:
    stranger = HfApi(endpoint=running.url, token=token_of("nosy", "write"))
    stranger.create_webhook(url=target.url, watched=[{"type": "org", "name": "lab"}], secret="stranger")
    api.create_repo(f"{name}-secret", private=True)
    api.create_repo(name)
    secret, body = target.next()
    assert (secret, body["repo"]["name"]) == ("stranger", name)
    stranger.delete_webhook(stranger.list_webhooks()[0].id)


def test_webhooks_are_listed_changed_switched_off_and_deleted_and_never_tell_their_secret(
    api: HfApi, wire: Wire, running: launch.Running, repo: str, target: Target, token_of: Callable[..., str]
) -> None:
    mine = HfApi(endpoint=running.url, token=token_of("hooker", "write", ("lab",)))
    webhook = mine.create_webhook(url=target.url, watched=[{"type": "model", "name": repo}], secret="s3cret")
    assert (webhook.domains, webhook.disabled, webhook.secret) == (["repo", "discussion"], False, None)
    assert mine.get_webhook(webhook.id) == webhook
    assert mine.list_webhooks() == [webhook]
    assert mine.disable_webhook(webhook.id).disabled
    mine.create_tag(repo, tag="unheard")
    mine.enable_webhook(webhook.id)
    mine.update_webhook(webhook.id, watched=[{"type": "user", "name": "lab"}], domains=["repo"], secret="other")
    mine.create_tag(repo, tag="heard")
    secret, body = target.next()
    assert (secret, [ref["ref"] for ref in body["updatedRefs"]]) == ("other", ["refs/tags/heard"])
    sent = Wire(wire.port, str(mine.token))("GET", f"/api/settings/webhooks/{webhook.id}/deliveries")
    assert b"other" not in sent.body
    assert b"s3cret" not in sent.body
    assert len(sent.json) == 1
    with pytest.raises(HfHubHTTPError, match="404"):
        api.get_webhook(webhook.id)  # another user's
    mine.delete_webhook(webhook.id)
    assert mine.list_webhooks() == []


@pytest.mark.parametrize(("change", "sentence"), cases(__file__)["refusals"])
def test_invalid_webhooks_are_refused_in_one_sentence(wire: Wire, change: dict[str, Any], sentence: str) -> None:
    good = {"url": "http://127.0.0.1:9/", "watched": [{"type": "user", "name": "x"}], "domains": ["repo"]}
    answer = wire("POST", "/api/settings/webhooks", good | change)
    assert answer.status in (400, 404)
    assert sentence in answer.json["error"]


def test_a_reader_cannot_create_webhooks(wire: Wire, token_of: Callable[..., str]) -> None:
    body = {"url": "http://127.0.0.1:9/", "watched": [{"type": "user", "name": "x"}]}
    assert Wire(wire.port, token_of("reader", "read"))("POST", "/api/settings/webhooks", body).status == 403
    assert Wire(wire.port, None)("POST", "/api/settings/webhooks", body).status == 401


def test_what_was_refused_is_sent_again_also_by_the_next_server_after_a_kill(tmp_path: Path, target: Target) -> None:
    root = tmp_path / "hub"
    first = launch.attach(root, 0)
    api = HfApi(endpoint=first.url, token=first.token)
    api.create_repo("lab/x")
    webhook = api.create_webhook(url=target.url, watched=[{"type": "org", "name": "lab"}])
    target.answers[:] = [500]
    done = api.upload_file(path_or_fileobj=b"1", path_in_repo="a", repo_id="lab/x")
    sent = target.next()
    stop(root, signal.SIGKILL)
    second = launch.attach(root, 0)
    try:
        assert target.next() == sent
        assert sent[1]["repo"]["headSha"] == done.oid
        deliveries = functools.partial(Wire.to(second), "GET", f"/api/settings/webhooks/{webhook.id}/deliveries")
        wait_until(lambda: deliveries().json[0]["state"] != "waiting", every=0.02)
        assert (deliveries().json[0]["state"], deliveries().json[0]["answer"]) == ("delivered", "HTTP 200")
    finally:
        stop(root, signal.SIGKILL)


def test_a_push_that_a_kill_kept_silent_is_announced_at_the_next_start(tmp_path: Path, target: Target) -> None:
    from embedded_hub.context import ServerContext
    from embedded_hub.store.git_tree import Put

    first = launch.attach(tmp_path / "hub", 0)
    api = HfApi(endpoint=first.url, token=first.token)
    api.create_repo("lab/x")
    api.create_webhook(url=target.url, watched=[{"type": "model", "name": "lab/x"}])
    stop(first.root, signal.SIGKILL)
    hub = ServerContext(first.root)
    tip, _ = hub.repositories.open("models", "lab/x").commit("main", [Put("a", b"1")], "m", "me")
    hub.repositories.close()
    hub.database.close()
    launch.attach(first.root, 0)
    try:
        assert target.next()[1]["updatedRefs"][0]["newSha"] == tip
    finally:
        stop(first.root)


def test_what_was_delivered_is_kept_for_a_while_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from embedded_hub.context import ServerContext
    from embedded_hub.database.webhooks import Webhook

    hub = ServerContext(tmp_path)
    monkeypatch.setattr(webhooks, "ENDED_LISTED", 3)
    webhook = Webhook("w", "permix", "write", "http://127.0.0.1:9/", None, (("user", "x"),), ("repo",), None, False)
    hub.webhooks.put(webhook)
    for number in range(5):
        hub.webhooks.enqueue(webhook, {"n": number})
    for sent in hub.webhooks.due()[:4]:
        hub.webhooks.delivered(sent, "HTTP 200")
    waiting = hub.webhooks.due()[0]
    for _ in range(len(webhooks.BACK_OFF) + 1):
        assert hub.webhooks.deliveries(webhook)[0].state == "waiting"
        hub.webhooks.refused(waiting, "HTTP 500")
        waiting = hub.webhooks.deliveries(webhook)[0]
    assert [(delivery.state, json.loads(delivery.body)["n"]) for delivery in hub.webhooks.deliveries(webhook)] == [
        ("failed", 4), ("delivered", 3), ("delivered", 2),
    ]  # fmt: skip
    hub.database.close()
    hub.repositories.close()
