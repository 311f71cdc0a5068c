"""Talking to a Hub: one commit, nothing stale, nothing damaged, no token elsewhere, and every error one sentence."""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import HfApi

from permix import run_record
from permix.errors import BadInput, PermixError
from permix.publishing import hub as hubs
from permix.publishing.hub import Hub, RepositoryState
from tests.support.cases import cases
from tests.support.servers import Answer, answering, error

METADATA = "---\nlicense: mit\n---\n"


@pytest.fixture
def repo(request: pytest.FixtureRequest) -> str:
    """A repository that no other test uses."""
    return f"datasets/hub-tests/{re.sub('[^a-z0-9]+', '-', request.node.name)[:60].strip('-')}"


def api(hub: Hub) -> HfApi:
    return HfApi(hub.endpoint, token=hub.token)


@contextmanager
def refused(match: str, kind: type[PermixError] = PermixError) -> Iterator[None]:
    """Expect a failure of one sentence: no line break, an end, not too long for a person."""
    with pytest.raises(kind, match=match) as failure:
        yield
    text = str(failure.value)
    assert "\n" not in text, text
    assert text[-1] in ".?", text
    assert len(text) < 400, text


def head_of(hub: Hub, repo: str) -> RepositoryState:
    head = hub.state(repo)
    assert head is not None
    return head


def commits(hub: Hub, repo: str) -> list[str]:
    kind, name = hubs.split(repo)
    return [c.title for c in api(hub).list_repo_commits(name, repo_type=kind)]


def folder_of(folder: Path, **texts: str) -> Path:
    """A folder as the runner publishes it: files, and the record that describes them."""
    folder.mkdir()
    for name, text in texts.items():
        (folder / name).write_text(text)
    described = run_record.describe_files(folder)
    record = dict.fromkeys(("permix", "stage", "digest", "config", "inputs", "facts", "release", "created"), "x")
    record |= {"files": described, "content_digest": run_record.content_digest(folder, described)}  # type: ignore[dict-item]
    (folder / "run.json").write_text(json.dumps(record))
    (folder / "README.md").write_text(f"{METADATA}# A card\n")
    return folder


@pytest.mark.parametrize(("repo", "kind", "name"), cases(__file__)["names"])
def test_a_repository_is_split_into_kind_and_id(repo: str, kind: str, name: str) -> None:
    assert hubs.split(repo) == (kind, name)


def test_publishing_is_one_commit_and_the_repository_is_the_folder(hub: Hub, repo: str, tmp_path: Path) -> None:
    first = hub.publish(repo, folder_of(tmp_path / "one", a="1", b="2", c="3"), "one", None)
    assert commits(hub, repo) == ["one", "initial commit"]
    head = head_of(hub, repo)
    assert (head.sha, head.intact) == (first, True)
    second = hub.publish(repo, folder_of(tmp_path / "two", b="new", d="4"), "two", head)
    assert commits(hub, repo) == ["two", "one", "initial commit"]
    head = head_of(hub, repo)
    assert (head.sha, head.intact) == (second, True)
    assert set(head.files) == {".gitattributes", "README.md", "run.json", "b", "d"}
    assert (hub.fetch(head) / "b").read_text() == "new"


def test_large_files_go_by_lfs_and_come_back(hub: Hub, repo: str, tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "one")
    (folder / "data.parquet").write_bytes(os.urandom(200_000))
    described = run_record.describe_files(folder)
    record = json.loads((folder / "run.json").read_text())
    record |= {"files": described, "content_digest": run_record.content_digest(folder, described)}
    (folder / "run.json").write_text(json.dumps(record))
    hub.publish(repo, folder, "one", None)
    head = head_of(hub, repo)
    assert head.intact
    assert head.files["data.parquet"] == (run_record.sha256(folder / "data.parquet"), 200_000)
    assert (hub.fetch(head) / "data.parquet").read_bytes() == (folder / "data.parquet").read_bytes()


def test_of_a_large_dataset_only_the_named_files_are_fetched(hub: Hub, repo: str, tmp_path: Path) -> None:
    hub.publish(repo, folder_of(tmp_path / "data", a="1", b="2"), "both", None)
    head = head_of(hub, repo)
    assert "b" not in {path.name for path in hub.fetch(head, ("a",)).iterdir()}
    assert {path.name for path in hub.fetch(head).iterdir()} >= {"a", "b", "run.json"}


def test_who_publishes_on_top_of_something_newer_is_refused(hub: Hub, repo: str, tmp_path: Path) -> None:
    hub.publish(repo, folder_of(tmp_path / "one", a="1"), "one", None)
    old = hub.state(repo)
    hub.publish(repo, folder_of(tmp_path / "two", a="2"), "two", old)
    with refused(f"Could not publish {repo}. Someone else committed to this repository"):
        hub.publish(repo, folder_of(tmp_path / "three", a="3"), "three", old)
    assert commits(hub, repo) == ["two", "one", "initial commit"]


def test_an_edit_by_hand_is_noticed_but_one_of_the_card_is_not(hub: Hub, repo: str, tmp_path: Path) -> None:
    hub.publish(repo, folder_of(tmp_path / "one", a="1", b="2"), "one", None)
    name = repo.removeprefix("datasets/")

    def edit(path: str, text: str) -> None:
        api(hub).upload_file(path_or_fileobj=text.encode(), path_in_repo=path, repo_id=name, repo_type="dataset")

    def intact() -> bool:
        return head_of(hub, repo).intact

    edit("README.md", f"{METADATA}new card")
    edit(".eval_results/x.yaml", "a: 1")
    assert intact()
    edit("a", "changed")
    assert not intact()
    edit("a", "1")
    assert intact()
    edit("c", "one more")
    assert not intact()
    api(hub).delete_file("c", repo_id=name, repo_type="dataset")
    assert intact()
    api(hub).delete_file("b", repo_id=name, repo_type="dataset")
    assert not intact()


def test_what_does_not_match_its_record_is_not_fetched(hub: Hub, repo: str, tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "one", a="1")
    (folder / "a").write_text("2")
    hub.publish(repo, folder, "one", None)
    head = head_of(hub, repo)
    assert not head.intact
    with pytest.raises(PermixError, match=rf"{repo}@{head.sha[:8]} does not have the content in its run.json"):
        hub.fetch(head)


@pytest.mark.parametrize("damage", [b"", b"2"])
def test_a_damaged_copy_in_the_cache_is_downloaded_again(hub: Hub, repo: str, tmp_path: Path, damage: bytes) -> None:
    hub.publish(repo, folder_of(tmp_path / "one", a="1"), "one", None)
    head = head_of(hub, repo)
    (hub.fetch(head) / "a").resolve().write_bytes(damage)
    assert (hub.fetch(head) / "a").read_text() == "1"


@pytest.mark.parametrize("text", ["not JSON", "[1, 2]", '{"model": "another program\'s"}'])
def test_another_programs_run_json_is_no_record(hub: Hub, repo: str, tmp_path: Path, text: str) -> None:
    folder = folder_of(tmp_path / "one", a="1")
    (folder / "run.json").write_text(text)
    hub.publish(repo, folder, "one", None)
    head = head_of(hub, repo)
    assert (head.record, len(head.content_digest)) == (None, 64)


def test_the_digest_of_a_foreign_repository_follows_its_files_alone(hub: Hub, repo: str, tmp_path: Path) -> None:
    name = repo.removeprefix("datasets/")
    api(hub).create_repo(name, repo_type="dataset")
    digests = []
    for path, text in (("a", "1"), ("README.md", METADATA), ("a", "2"), ("a", "1")):
        api(hub).upload_file(path_or_fileobj=text.encode(), path_in_repo=path, repo_id=name, repo_type="dataset")
        digests.append(head_of(hub, repo).content_digest)
    assert digests[0] == digests[1] == digests[3] != digests[2]


def test_a_card_is_written_in_a_commit_of_its_own_and_only_when_it_is_new(hub: Hub, repo: str, tmp_path: Path) -> None:
    hub.publish(repo, folder_of(tmp_path / "one", a="1"), "one", None)
    for _ in range(2):
        hub.write_card(head_of(hub, repo), f"{METADATA}# Results: –\n")
    assert commits(hub, repo) == ["Results onto the card", "one", "initial commit"]
    head = head_of(hub, repo)
    assert head.intact
    assert hub.download(f"{repo}@{head.sha}", "README.md").read_text(encoding="utf-8").endswith("# Results: –\n")


def test_heads_of_nothing_of_a_tag_and_of_no_revision(hub: Hub, repo: str, tmp_path: Path) -> None:
    assert hub.state(repo) is None
    sha = hub.publish(repo, folder_of(tmp_path / "one", a="1"), "one", None)
    hub.tag(repo, "v1.0.0", sha)
    hub.tag(repo, "v1.0.0", sha)  # there already
    assert hub.tags(repo) == {"v1.0.0": sha}
    state = head_of(hub, f"{repo}@v1.0.0")
    assert (state.repo, state.sha) == (repo, sha)
    with pytest.raises(BadInput, match=f"{repo} has no revision 'v9' on"):
        hub.state(f"{repo}@v9")


@pytest.mark.parametrize("name", ["a/b/c", "", "me/x y", "datasets/a/b/c", "me/-x"])
def test_a_name_that_no_hub_would_take_is_one_sentence(hub: Hub, name: str) -> None:
    with refused("Could not look up", BadInput):
        hub.state(name)


def test_who_may_write_is_asked_before_anything_is_made(hub: Hub) -> None:
    hub.check_write("anyone")
    with pytest.raises(BadInput, match="There is no token for"):
        replace(hub, token=None).check_write("me")
    with pytest.raises(PermixError, match="The token is not valid there"):
        replace(hub, token="hf_wrong").check_write("me")
    with pytest.raises(BadInput, match=r"permix may not write to 'you' on .*use --set org=, one of .*permix"):
        replace(hub, embedded=False).check_write("you")


@pytest.mark.parametrize(("status", "body", "sentence"), cases(__file__)["bad answers"])
def test_every_bad_answer_is_one_sentence(status: int, body: Any, sentence: str, tmp_path: Path) -> None:
    answer = error(status, body["error"]) if isinstance(body, dict) else (status, body, {})
    with answering(lambda _: answer) as (url, _), refused(sentence):
        Hub(url, "hf_mine", tmp_path, embedded=False).check_write("me")


def test_a_gated_repository_says_what_to_do(tmp_path: Path) -> None:
    def answer(path: str) -> Answer:
        return 403, "", {"X-Error-Code": "GatedRepo", "X-Error-Message": "Access to model me/llama is restricted"}

    with answering(answer) as (url, _), refused("It is gated: accept its terms on"):
        Hub(url, "hf_mine", tmp_path, embedded=False).state("me/llama")


def test_an_upload_that_fails_halfway_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a").write_bytes(b"large")
    oid, addresses = run_record.sha256(tmp_path / "out" / "a"), [""]

    def answer(path: str) -> Answer:
        if "/preupload/" in path:
            return 200, json.dumps({"files": [{"path": "a", "uploadMode": "lfs", "shouldIgnore": False}]}), {}
        if path.endswith("/objects/batch"):
            upload = {"actions": {"upload": {"href": f"{addresses[-1]}/put"}}, "oid": oid, "size": 5}
            return 200, json.dumps({"objects": [upload]}), {"Content-Type": "application/json"}
        return error(403, "The link has expired")

    with answering(answer) as (url, seen):
        addresses.append(url)
        there = RepositoryState("me/x", "0" * 40, {}, None)
        with refused(r"Could not publish me/x\. The token does not have the right"):
            Hub(url, "hf_mine", tmp_path, embedded=False).publish("me/x", tmp_path / "out", "one", there)
    assert "/put" in [path for path, _ in seen]


def test_a_closed_port_is_one_sentence(tmp_path: Path) -> None:
    nobody = Hub("http://127.0.0.1:9", "hf_mine", tmp_path, embedded=False)
    calls: list[Callable[[], Any]] = [
        lambda: nobody.check_write("me"),
        lambda: nobody.state("me/x"),
        lambda: nobody.tags("me/x"),
        lambda: nobody.publish("me/x", tmp_path, "one", None),
    ]
    for ask in calls:
        with refused(r"http://127.0.0.1:9 does not answer. Check address"):
            ask()


def test_a_hub_that_never_answers_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hubs, "PATIENCE", 0.2)

    def answer(_: str) -> Answer:
        time.sleep(2)
        return error(500)

    with answering(answer) as (url, _), pytest.raises(PermixError, match="does not answer"):
        Hub(url, "hf_mine", tmp_path, embedded=False).state("me/x")


def test_a_cache_that_cannot_be_written_is_one_sentence(hub: Hub, repo: str, tmp_path: Path) -> None:
    hub.publish(repo, folder_of(tmp_path / "one", a="1"), "one", None)
    (tmp_path / "file").write_text("")
    with refused(f"Could not download run.json of {repo}@.*Not a directory"):
        replace(hub, cache=tmp_path / "file" / "cache").state(repo)


def test_the_token_follows_no_redirect_to_another_server(tmp_path: Path) -> None:
    headers = {"X-Repo-Commit": "0" * 40, "ETag": '"x"', "X-Linked-Etag": '"x"', "X-Linked-Size": "2"}
    with answering(lambda _: (200, "hi", {"ETag": '"x"'})) as (elsewhere, there):

        def answer(path: str) -> Answer:
            return 302, "", {"Location": f"{elsewhere}{path}", **headers}

        with answering(answer) as (url, here):
            got = Hub(url, "hf_mine", tmp_path, embedded=False).download(f"me/x@{'0' * 40}", "a")
    assert got.read_text() == "hi"
    assert {token for _, token in here} == {"Bearer hf_mine"}
    assert there
    assert {token for _, token in there} == {None}


CONNECT = """
import json, os, sys
from permix.publishing import hub
from permix.errors import PermixError
try:
    found = hub.connect(*sys.argv[1:])
except PermixError as error:
    print(json.dumps({"error": str(error)}))
else:
    left = sorted(key for key, value in os.environ.items() if value.startswith(("hf_", "sk-")))
    shown = {"endpoint": found.endpoint, "token": found.token, "cache": str(found.cache), "left": left}
    print(json.dumps(shown | {"embedded": found.embedded, "home": os.environ.get("HF_HOME")}))
"""


def connected(home: Path, *url: str, **environment: str) -> dict[str, Any]:
    """What `connect` gives in a process of its own, where a real token is stored."""
    (home / "user").mkdir(parents=True, exist_ok=True)
    (home / "user" / "token").write_text("hf_stored")
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "PERMIX_"))}
    ours = {"PERMIX_HOME": str(home), "HF_HOME": str(home / "user"), "PERMIX_HUB_LINGER": "0.2"}
    done = subprocess.run(
        [sys.executable, "-c", CONNECT, *url],
        env=inherited | ours | environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return dict(json.loads(done.stdout))


def test_the_real_hub_gets_the_stored_token_and_the_usual_cache(tmp_path: Path) -> None:
    connection = connected(tmp_path, "https://huggingface.co/")
    assert (connection["endpoint"], connection["token"]) == ("https://huggingface.co", "hf_stored")
    assert (connection["cache"], connection["home"]) == ("None", str(tmp_path / "user"))
    assert not connection["embedded"]
    assert not (tmp_path / "hub").exists()
    assert connected(tmp_path, "https://huggingface.co", HF_TOKEN="hf_given")["token"] == "hf_given"


def test_another_hub_gets_the_given_token_only_and_a_cache_of_its_own(tmp_path: Path) -> None:
    connection = connected(tmp_path, "http://127.0.0.1:9")
    assert connection["token"] is None
    assert connection["cache"].startswith(str(tmp_path / "hf-"))
    other = connected(tmp_path, "http://127.0.0.1:10", HF_TOKEN="hf_given")
    assert other["token"] == "hf_given"
    assert other["cache"] != connection["cache"]
    assert other["left"] == []
    assert not (tmp_path / "hub").exists()


def test_the_embedded_hub_gets_its_own_token_and_secrets_leave_the_environment(tmp_path: Path) -> None:
    secrets = {"HF_TOKEN": "hf_real", "HUGGING_FACE_HUB_TOKEN": "hf_real"}
    connection = connected(tmp_path, **secrets)
    assert (connection["token"], connection["left"]) == ((tmp_path / "hub" / "token").read_text().strip(), [])
    assert connection["embedded"]
    assert (connection["cache"], connection["home"]) == (str(tmp_path / "hf" / "hub"), str(tmp_path / "hf"))


def test_an_address_without_a_scheme_is_refused(tmp_path: Path) -> None:
    assert connected(tmp_path, "huggingface.co")["error"].startswith("--hub 'huggingface.co' should be an address")


@pytest.mark.parametrize(("page", "metadata"), cases(__file__)["cards"])
def test_the_metadata_of_a_card_without_an_error(
    hub: Hub, org: str, tmp_path: Path, page: str | None, metadata: dict[str, Any]
) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    if page:
        (tmp_path / "model" / "README.md").write_text(page)
    hub.publish(f"{org}/model", tmp_path / "model", "base", None)
    state = hub.state(f"{org}/model")
    assert state
    assert hub.card(state) == metadata
    assert hub.parameters(f"{org}/model@{state.sha}") == 0
