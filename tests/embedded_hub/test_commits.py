"""Writing content through the stock client."""

import base64
import json
from pathlib import Path

import pytest
from huggingface_hub import CommitOperationAdd, CommitOperationCopy, CommitOperationDelete, HfApi
from huggingface_hub.errors import BadRequestError, HfHubHTTPError, RemoteEntryNotFoundError, RevisionNotFoundError

from tests.support.cases import cases
from tests.support.wire import Wire


def add(path: str, content: bytes) -> CommitOperationAdd:
    return CommitOperationAdd(path_in_repo=path, path_or_fileobj=content)


def head(api: HfApi, repo: str) -> str:
    sha = api.model_info(repo).sha
    assert sha
    return sha


def test_a_commit_sent_twice_lands_once(wire: Wire, api: HfApi, repo: str) -> None:
    lines = [
        {"key": "header", "value": {"summary": "s", "description": "d"}},
        {"key": "file", "value": {"path": "a", "content": base64.b64encode(b"a").decode(), "encoding": "base64"}},
    ]
    body = b"\n".join(json.dumps(line).encode() for line in lines)
    answers = [wire("POST", f"/api/models/{repo}/commit/main", body).json["commitOid"] for _ in range(2)]
    assert answers == [head(api, repo)] * 2
    assert api.list_repo_commits(repo)[0].message == "d"


def test_add_replace_delete_and_copy_in_one_commit(api: HfApi, repo: str, tmp_path: Path) -> None:
    before = [add("keep", b"1"), add("old/x/deep", b"2"), add("gone", b"3"), add("w.bin", b"\0" * 99)]
    api.create_commit(repo, before, commit_message="m")
    copies = [CommitOperationCopy("w.bin", "copies/w.bin"), CommitOperationCopy("keep", "copies/keep")]
    edits = [add("keep", b"new"), CommitOperationDelete("gone"), CommitOperationDelete("old/"), *copies]
    done = api.create_commit(repo, edits, commit_message="m")
    assert set(api.list_repo_files(repo)) == {".gitattributes", "keep", "w.bin", "copies/w.bin", "copies/keep"}
    back = Path(api.snapshot_download(repo, cache_dir=tmp_path, revision=done.oid))
    assert (back / "copies/w.bin").read_bytes() == b"\0" * 99
    assert (back / "keep").read_bytes() == b"new"
    assert (back / "copies/keep").read_bytes() == b"1"  # a copy is of what was there before the commit


def test_a_stale_parent_is_refused_with_412_and_changes_nothing(api: HfApi, repo: str) -> None:
    before = head(api, repo)
    now = api.create_commit(repo, [add("a", b"1")], commit_message="m", parent_commit=before).oid
    with pytest.raises(HfHubHTTPError, match="A commit has happened since") as refused:
        api.create_commit(repo, [add("a", b"2")], commit_message="m", parent_commit=before)
    assert refused.value.response.status_code == 412
    assert head(api, repo) == now


def test_what_does_not_fit_is_refused_and_nothing_of_the_commit_lands(api: HfApi, repo: str) -> None:
    before = api.create_commit(repo, [add("file", b"1"), add("folder/x", b"1")], commit_message="m").oid
    wrong = [
        ([CommitOperationDelete("nowhere")], RemoteEntryNotFoundError, "doesn't exist"),
        ([CommitOperationDelete("nowhere/")], RemoteEntryNotFoundError, "doesn't exist"),
        ([add("file/below", b"1")], BadRequestError, "needs a folder where the file 'file' is"),
        ([add("folder", b"1")], BadRequestError, "is a folder"),
    ]
    for operations, error, sentence in wrong:
        with pytest.raises(error, match=sentence):
            api.create_commit(repo, [add("other", b"1"), *operations], commit_message="m")
    with pytest.raises(RevisionNotFoundError):
        api.create_commit(repo, [add("other", b"1")], commit_message="m", revision="no-branch")
    with pytest.raises(ValueError, match="not YAML"):
        api.create_commit(repo, [add("README.md", b"---\na: [\n---\n")], commit_message="m")
    assert head(api, repo) == before


@pytest.mark.parametrize(
    "path", ["at 9.41\u202fAM.png", "می\u200cخ.txt", "soft\u00adhyphen", "🏳\ufe0f\u200d🌈.txt", "nbsp\u00a0.txt"]
)
def test_a_path_with_joiners_and_other_spaces_is_accepted(api: HfApi, repo: str, path: str) -> None:
    api.upload_file(path_or_fileobj=b"1", path_in_repo=path, repo_id=repo)
    assert path in api.list_repo_files(repo)


@pytest.mark.parametrize(
    "path",
    [
        "", "/etc/passwd", "a/../b", "./a", "a//b", "a/", ".git/config", "a/.GIT/x", "a\\b", "a\0b", "a\nb", "a\x85b",
        "x" * 300,
    ],
)  # fmt: skip
def test_a_path_that_a_client_could_not_hold_is_refused(wire: Wire, api: HfApi, repo: str, path: str) -> None:
    before = head(api, repo)
    lines = [
        {"key": "header", "value": {"summary": "s"}},
        {"key": "file", "value": {"path": path, "content": "YQ==", "encoding": "base64"}},
    ]
    answer = wire("POST", f"/api/models/{repo}/commit/main", b"\n".join(json.dumps(line).encode() for line in lines))
    assert answer.status == 400
    assert "cannot be the path of a file" in answer.json["error"]
    assert head(api, repo) == before


@pytest.mark.parametrize("body", cases(__file__)["malformed"])
def test_a_malformed_commit_is_refused_with_400(wire: Wire, api: HfApi, repo: str, body: str) -> None:
    before = head(api, repo)
    answer = wire("POST", f"/api/models/{repo}/commit/main", body.encode("latin-1"))
    assert (answer.status, head(api, repo)) == (400, before)
    assert answer.json["error"].endswith(".")


def test_preupload_follows_gitattributes_and_gitignore_of_the_repository(wire: Wire, api: HfApi, repo: str) -> None:
    rules = [add(".gitattributes", b"*.csv filter=lfs -text\n"), add(".gitignore", b"*.log\n/out/\n")]
    api.create_commit(repo, rules, commit_message="m")
    text, binary = base64.b64encode(b"a,b\n").decode(), base64.b64encode(b"\0\1").decode()
    samples = {"a.csv": text, "a.txt": text, "a.dat": binary, "x/a.log": text, "out/a": text, "README.md": binary}
    files = [{"path": path, "sample": sample, "size": 4} for path, sample in samples.items()]
    answer = wire("POST", f"/api/models/{repo}/preupload/main", {"files": files}).json["files"]
    assert [row["uploadMode"] for row in answer] == ["lfs", "regular", "lfs", "regular", "regular", "regular"]
    assert [row["shouldIgnore"] for row in answer] == [False, False, False, True, True, False]


def test_two_thousand_files_in_one_commit_are_all_there(api: HfApi, repo: str) -> None:
    api.create_commit(repo, [add(f"d{n % 20}/{n}.txt", b"%d" % n) for n in range(2000)], commit_message="m")
    assert len(api.list_repo_files(repo)) == 2001
    infos = api.get_paths_info(repo, ["d7/1007.txt", "nowhere", "d7"])
    assert [(row.path, getattr(row, "size", None)) for row in infos] == [("d7/1007.txt", 4), ("d7", None)]
