"""Reading content: files, ranges, folders, history, branches and tags."""

import hashlib
import os
from pathlib import Path

import pytest
from huggingface_hub import CommitOperationAdd, HfApi, get_hf_file_metadata, hf_hub_url
from huggingface_hub.errors import HfHubHTTPError, RemoteEntryNotFoundError, RevisionNotFoundError

from embedded_hub.launch import Running
from tests.support.wire import Wire

LARGE = os.urandom(300_000)
TEXT = b"0123456789" * 10


@pytest.fixture
def filled(api: HfApi, repo: str) -> str:
    contents = {"a/text.txt": TEXT, "a/b/deep.txt": b"deep", "w.bin": LARGE}
    operations = [CommitOperationAdd(path, content) for path, content in contents.items()]
    api.create_commit(repo, operations, commit_message="Fill it")
    return repo


def test_etag_size_and_commit_are_those_of_git_and_sha256(api: HfApi, running: Running, filled: str) -> None:
    def metadata(path: str) -> tuple[str | None, int | None, str | None]:
        url = hf_hub_url(filled, path, endpoint=running.url)
        metadata = get_hf_file_metadata(url, token=running.token, endpoint=running.url)
        return metadata.etag, metadata.size, metadata.commit_hash

    sha = api.model_info(filled).sha
    blob = hashlib.sha1(b"blob 100\0" + TEXT).hexdigest()
    assert metadata("a/text.txt") == (blob, 100, sha)
    assert metadata("w.bin") == (hashlib.sha256(LARGE).hexdigest(), len(LARGE), sha)


@pytest.mark.parametrize(("path", "content"), [("a/text.txt", TEXT), ("w.bin", LARGE)])
def test_ranges_of_regular_and_large_files(wire: Wire, filled: str, path: str, content: bytes) -> None:
    address, size = f"/{filled}/resolve/main/{path}", len(content)
    ranges = {"0-0": content[:1], "7-": content[7:], "-5": content[-5:], f"90-{size + 99}": content[90:]}
    for requested, part in ranges.items():
        answer = wire("GET", address, Range=f"bytes={requested}")
        assert (answer.status, answer.body) == (206, part)
        assert answer.headers["content-range"].endswith(f"/{size}")
    assert wire("GET", address, Range=f"bytes={size}-").status == 416
    assert wire("GET", address).body == content
    empty = wire("HEAD", address)
    assert (empty.status, empty.body, empty.headers["content-length"]) == (200, b"", str(size))


@pytest.mark.parametrize("path", ["a/text.txt", "w.bin"])
def test_a_file_that_the_client_has_is_not_sent_again(wire: Wire, filled: str, path: str) -> None:
    address = f"/{filled}/resolve/main/{path}"
    etag = wire("GET", address).headers["etag"]
    answer = wire("GET", address, **{"If-None-Match": f'"other", W/{etag}'})
    assert (answer.status, answer.body) == (304, b"")
    assert wire("GET", address, **{"If-None-Match": '"other"'}).status == 200


def test_uploaded_pages_cannot_run_in_a_browser(wire: Wire, api: HfApi, filled: str) -> None:
    api.upload_file(path_or_fileobj=b"<script>1</script>", path_in_repo="x.html", repo_id=filled)
    headers = wire("GET", f"/{filled}/resolve/main/x.html").headers
    assert headers["content-type"].startswith("text/plain")
    assert "sandbox" in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"


def test_every_kind_of_missing_object_has_its_own_exception(api: HfApi, filled: str, tmp_path: Path) -> None:
    with pytest.raises(RemoteEntryNotFoundError, match="nowhere"):
        api.hf_hub_download(filled, "nowhere", cache_dir=tmp_path)
    with pytest.raises(RemoteEntryNotFoundError):
        api.hf_hub_download(filled, "a", cache_dir=tmp_path)
    with pytest.raises(RevisionNotFoundError):
        api.hf_hub_download(filled, "w.bin", revision="v9", cache_dir=tmp_path)
    with pytest.raises(RevisionNotFoundError):
        api.model_info(filled, revision="0" * 40)
    with pytest.raises(RemoteEntryNotFoundError):
        list(api.list_repo_tree(filled, "nowhere"))


def test_tree_lists_folders_and_the_commit_that_last_changed_each_entry(api: HfApi, filled: str) -> None:
    second = api.upload_file(path_or_fileobj=b"new", path_in_repo="a/b/deep.txt", repo_id=filled, commit_message="Two")
    top = {entry.path: entry for entry in api.list_repo_tree(filled, expand=True)}
    assert sorted(top) == [".gitattributes", "a", "w.bin"]
    titles = {path: entry.last_commit.title for path, entry in top.items() if entry.last_commit}
    assert titles == {".gitattributes": "initial commit", "a": "Two", "w.bin": "Fill it"}
    below = {entry.path for entry in api.list_repo_tree(filled, "a", recursive=True)}
    assert below == {"a/b", "a/b/deep.txt", "a/text.txt"}
    assert api.list_repo_commits(filled)[0].commit_id == second.oid


def test_long_trees_and_histories_come_in_pages(wire: Wire, api: HfApi, filled: str) -> None:
    api.create_commit(filled, [CommitOperationAdd(f"many/{n:04}", b"x") for n in range(1100)], commit_message="m")
    assert len(list(api.list_repo_tree(filled, "many"))) == 1100
    first = wire("GET", f"/api/models/{filled}/tree/main/many?limit=3")
    assert [row["path"] for row in first.json] == ["many/0000", "many/0001", "many/0002"]
    address = first.headers["link"].split(">")[0].strip("<")
    assert wire("GET", address).json[0]["path"] == "many/0003"
    commits = wire("GET", f"/api/models/{filled}/commits/main?limit=2")
    assert [row["title"] for row in commits.json] == ["m", "Fill it"]
    older = wire("GET", commits.headers["link"].split(">")[0].strip("<"))
    assert [row["title"] for row in older.json] == ["initial commit"]


def test_branches_and_tags_come_go_and_clash(api: HfApi, filled: str) -> None:
    sha = api.model_info(filled).sha
    api.create_tag(filled, tag="v1.0.0")
    api.create_tag(filled, tag="v1.0.1", tag_message="with a message")
    api.create_branch(filled, branch="feature/x", revision="v1.0.0")
    refs = api.list_repo_refs(filled)
    assert {ref.name: ref.target_commit for ref in refs.tags} == {"v1.0.0": sha, "v1.0.1": sha}
    assert {ref.name for ref in refs.branches} == {"main", "feature/x"}
    assert api.model_info(filled, revision="v1.0.1").sha == sha
    with pytest.raises(HfHubHTTPError, match="already exists"):
        api.create_tag(filled, tag="v1.0.0")
    api.create_tag(filled, tag="v1.0.0", exist_ok=True)
    for bad in ("feature", "main/x", "a..b", "x.lock", "sp ace", "-"):
        with pytest.raises(HfHubHTTPError) as refused:
            api.create_branch(filled, branch=bad)
        assert refused.value.response.status_code == 400
    api.delete_branch(filled, branch="feature/x")
    api.delete_tag(filled, tag="v1.0.0")
    with pytest.raises(RevisionNotFoundError):
        api.delete_tag(filled, tag="v1.0.0")
    with pytest.raises(HfHubHTTPError, match="cannot be deleted"):
        api.delete_branch(filled, branch="main")
    assert [ref.name for ref in api.list_repo_refs(filled).tags] == ["v1.0.1"]
