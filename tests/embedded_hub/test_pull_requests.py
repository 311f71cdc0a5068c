"""Discussions and pull requests, through the client and by hand."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi
from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError

from embedded_hub.launch import Running
from tests.support.wire import Wire


def put(api: HfApi, repo: str, revision: str = "main", create_pr: bool = False, **files: str | None) -> Any:
    operations: list[Any] = [
        CommitOperationDelete(f"{path}.txt") if text is None else CommitOperationAdd(f"{path}.txt", text.encode())
        for path, text in files.items()
    ]
    return api.create_commit(repo, operations, commit_message="change", revision=revision, create_pr=create_pr)


def text(api: HfApi, repo: str, path: str, revision: str, folder: Path) -> str:
    return Path(api.hf_hub_download(repo, f"{path}.txt", revision=revision, cache_dir=folder)).read_text()


def test_a_commit_can_open_a_pull_request_and_be_merged(api: HfApi, repo: str, tmp_path: Path) -> None:
    put(api, repo, a="1\n2\n", b="old", c="c")
    head = api.model_info(repo).sha
    commit = put(api, repo, create_pr=True, a="1\n3\n", b=None, d="new")
    assert (commit.pr_num, commit.pr_revision) == (1, "refs/pr/1")
    assert commit.pr_url.endswith(f"/{repo}/discussions/1")
    assert api.model_info(repo).sha == head != commit.oid
    assert api.model_info(repo, revision="refs/pr/1").sha == commit.oid
    assert text(api, repo, "a", "refs/pr/1", tmp_path) == "1\n3\n"
    assert text(api, repo, "a", "main", tmp_path) == "1\n2\n"
    put(api, repo, c="moved on", e="e")

    details = api.get_discussion_details(repo, 1)
    assert details.is_pull_request
    assert (details.status, details.author, details.title) == ("open", "permix", "change")
    assert (details.target_branch, details.git_reference) == ("refs/heads/main", "refs/pr/1")
    assert details.conflicting_files == []
    assert "-2\n+3\n" in details.diff
    assert "+++ /dev/null" in details.diff
    assert "new file mode" in details.diff
    assert [event.type for event in details.events] == ["comment", "commit"]
    assert details.events[1].oid == commit.oid  # type: ignore[attr-defined]

    api.merge_pull_request(repo, 1, comment="thanks")
    merged = api.get_discussion_details(repo, 1)
    assert (merged.status, merged.merge_commit_oid) == ("merged", api.model_info(repo).sha)
    assert [text(api, repo, path, "main", tmp_path) for path in "acde"] == ["1\n3\n", "moved on", "new", "e"]
    assert not api.file_exists(repo, "b.txt")
    assert api.list_repo_commits(repo)[0].title == "change (#1)"
    for again in (lambda: api.merge_pull_request(repo, 1), lambda: put(api, repo, "refs/pr/1", a="late")):
        with pytest.raises(HfHubHTTPError, match="merged"):
            again()


def test_folders_and_large_files_go_into_pull_requests(api: HfApi, repo: str, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    content = os.urandom(30_000)
    (tmp_path / "folder" / "w.bin").write_bytes(content)
    commit = api.upload_folder(repo_id=repo, folder_path=tmp_path / "folder", create_pr=True)
    again = api.upload_file(repo_id=repo, path_or_fileobj=b"x", path_in_repo="x.txt", revision=commit.pr_revision)
    assert api.model_info(repo, revision="refs/pr/1").sha == again.oid
    api.merge_pull_request(repo, 1)
    assert Path(api.hf_hub_download(repo, "w.bin", cache_dir=tmp_path)).read_bytes() == content
    assert api.get_paths_info(repo, "w.bin")[0].lfs is not None


STOCK = """
import os, sys
from huggingface_hub import HfApi
api = HfApi()
api.create_repo("lab/stock-pr")
made = api.upload_folder(repo_id="lab/stock-pr", folder_path=sys.argv[1], create_pr=True)
api.change_discussion_status("lab/stock-pr", made.pr_num, "open")
api.merge_pull_request("lab/stock-pr", made.pr_num)
print(made.pr_revision, sorted(api.list_repo_files("lab/stock-pr")))
"""


def test_the_upload_pipeline_of_stock_clients_opens_pull_requests(child: Callable[..., str], tmp_path: Path) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / "w.bin").write_bytes(os.urandom(30_000))
    (folder / "a.txt").write_text("a")
    done = child("-c", STOCK, str(folder), xet=True)
    assert done.splitlines()[-1] == "refs/pr/1 ['.gitattributes', 'a.txt', 'w.bin']"


def test_conflicts_are_named_and_not_merged(api: HfApi, repo: str) -> None:
    put(api, repo, a="1", b="1")
    put(api, repo, create_pr=True, a="2", b="2")
    put(api, repo, a="3", b="2")
    assert api.get_discussion_details(repo, 1).conflicting_files == ["a.txt"]
    head = api.model_info(repo).sha
    with pytest.raises(HfHubHTTPError, match=r"conflicts with main in a\.txt"):
        api.merge_pull_request(repo, 1)
    assert api.model_info(repo).sha == head
    put(api, repo, "refs/pr/1", a="3")
    api.merge_pull_request(repo, 1)


def test_a_pull_request_can_begin_at_an_older_commit(api: HfApi, repo: str, tmp_path: Path) -> None:
    old = put(api, repo, a="1").oid
    put(api, repo, a="1", b="2")
    operation = CommitOperationAdd("c.txt", b"3")
    api.create_commit(repo, [operation], commit_message="m", create_pr=True, parent_commit=old)
    assert "b.txt" not in api.list_repo_files(repo, revision="refs/pr/1")
    api.merge_pull_request(repo, 1)
    assert {"b.txt", "c.txt"} <= set(api.list_repo_files(repo))


def test_drafts_are_opened_before_they_are_merged(api: HfApi, repo: str) -> None:
    pull_request = api.create_pull_request(repo, "An idea", description="Why not")
    assert (pull_request.num, pull_request.status, pull_request.events[0].content) == (1, "draft", "Why not")  # type: ignore[attr-defined]
    put(api, repo, "refs/pr/1", a="1")
    with pytest.raises(HfHubHTTPError, match="draft"):
        api.merge_pull_request(repo, 1)
    api.change_discussion_status(repo, 1, "open")
    api.merge_pull_request(repo, 1)
    assert api.file_exists(repo, "a.txt")


def test_discussions_are_listed_renamed_closed_and_opened(api: HfApi, repo: str) -> None:
    first = api.create_discussion(repo, "A question", description="What is **this**?")
    api.create_pull_request(repo, "An answer")
    assert first.diff is None
    assert not first.is_pull_request
    assert api.comment_discussion(repo, 1, "I see <b>").rendered == "<p>I see &lt;b&gt;</p>"
    assert api.rename_discussion(repo, 1, "Another question").new_title == "Another question"
    assert api.change_discussion_status(repo, 1, "closed", comment="done").new_status == "closed"
    discussions = [(discussion.num, discussion) for discussion in api.get_repo_discussions(repo)]
    facts = {num: (discussion.title, discussion.status, discussion.is_pull_request) for num, discussion in discussions}
    assert facts == {1: ("Another question", "closed", False), 2: ("An answer", "draft", True)}
    assert [discussion.num for discussion in api.get_repo_discussions(repo, discussion_status="open")] == [2]
    assert [discussion.num for discussion in api.get_repo_discussions(repo, discussion_type="discussion")] == [1]
    assert not list(api.get_repo_discussions(repo, author="nobody"))
    events = api.get_discussion_details(repo, 1).events
    assert [event.type for event in events] == ["comment", "comment", "title-change", "comment", "status-change"]
    with pytest.raises(HfHubHTTPError, match="is not a pull request"):
        api.merge_pull_request(repo, 1)
    with pytest.raises(HfHubHTTPError, match="no discussion 7"):
        api.get_discussion_details(repo, 7)


def test_many_discussions_come_in_pages(api: HfApi, repo: str, wire: Wire) -> None:
    for number in range(53):
        answer = wire("POST", f"/api/models/{repo}/discussions", {"title": f"Number {number}", "description": "d"})
        assert answer.json["num"] == number + 1
    assert [discussion.num for discussion in api.get_repo_discussions(repo)] == list(range(53, 0, -1))


def test_refs_name_pull_requests_only_on_request(api: HfApi, repo: str) -> None:
    commit = put(api, repo, create_pr=True, a="1")
    refs = api.list_repo_refs(repo, include_pull_requests=True).pull_requests
    assert refs
    assert [(ref.ref, ref.target_commit) for ref in refs] == [("refs/pr/1", commit.oid)]
    assert [ref.name for ref in api.list_repo_refs(repo).branches] == ["main"]


def test_authors_writers_and_readers(api: HfApi, repo: str, running: Running, token_of: Callable[..., str]) -> None:
    put(api, repo, a="1")
    guest = HfApi(endpoint=running.url, token=token_of("guest", "write"))
    reader = HfApi(endpoint=running.url, token=token_of("rea", "read", orgs=["lab"]))
    assert put(guest, repo, create_pr=True, a="2").pr_num == 1
    put(guest, repo, "refs/pr/1", b="2")
    api.create_pull_request(repo, "The owner's own")
    forbidden = [
        lambda: guest.merge_pull_request(repo, 1),
        lambda: put(guest, repo, a="2"),
        lambda: put(guest, repo, "refs/pr/2", a="2"),
        lambda: guest.rename_discussion(repo, 2, "Mine"),
        lambda: guest.change_discussion_status(repo, 2, "closed"),
        lambda: put(reader, repo, create_pr=True, a="2"),
        lambda: reader.create_discussion(repo, "A word"),
    ]
    for attempt in forbidden:
        with pytest.raises(HfHubHTTPError) as refused:
            attempt()
        assert refused.value.response.status_code == 403
    with pytest.raises(HfHubHTTPError):
        HfApi(endpoint=running.url, token=False).create_discussion(repo, "A word")
    api.update_repo_settings(repo, private=True)
    for hidden in (lambda: guest.get_discussion_details(repo, 1), lambda: list(guest.get_repo_discussions(repo))):
        with pytest.raises(RepositoryNotFoundError):
            hidden()
    assert [discussion.num for discussion in reader.get_repo_discussions(repo)] == [2, 1]


def test_a_failed_commit_opens_nothing(api: HfApi, repo: str, wire: Wire) -> None:
    for operation in ({"key": "deletedFile", "value": {"path": "x"}}, {"key": "file", "value": {"path": "a/../b"}}):
        lines = [{"key": "header", "value": {"summary": "s"}}, operation]
        body = "\n".join(json.dumps(line) for line in lines).encode()
        assert wire("POST", f"/api/models/{repo}/commit/main?create_pr=1", body).status in (400, 404)
    assert not list(api.get_repo_discussions(repo))
    assert api.list_repo_refs(repo, include_pull_requests=True).pull_requests == []
    for revision in ("refs%2Fpr%2F1", "refs%2Fpr%2Fx", "refs%2Fpr%2F"):
        body = b'{"key": "header", "value": {"summary": "s"}}\n{"key": "file", "value": {"path": "a", "content": ""}}'
        assert wire("POST", f"/api/models/{repo}/commit/{revision}", body).status == 404


def test_a_deleted_repository_takes_its_discussions_with_it(api: HfApi, repo: str) -> None:
    put(api, repo, create_pr=True, a="1")
    api.delete_repo(repo)
    api.create_repo(repo)
    assert not list(api.get_repo_discussions(repo))
    assert put(api, repo, create_pr=True, a="1").pr_num == 1
