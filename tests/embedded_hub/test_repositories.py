"""Repositories are created, deleted, moved, listed and searched."""

import subprocess
import warnings
from pathlib import Path

import pytest
from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError

from embedded_hub.launch import Running
from tests.support.wire import Wire

CARD = """---
license: apache-2.0
library_name: peft
pipeline_tag: text-generation
base_model: lab/base
base_model_relation: adapter
datasets: [lab/data]
language: en
tags: [permix, "arxiv:2604.08986"]
---
# Title
"""


def upload_card(api: HfApi, repo: str) -> None:
    api.upload_file(path_or_fileobj=CARD.encode(), path_in_repo="README.md", repo_id=repo)


def test_a_repository_made_again_has_nothing_of_the_old_one(api: HfApi, repo: str) -> None:
    api.upload_file(path_or_fileobj=b"\0" * 10, path_in_repo="a.bin", repo_id=repo)
    api.delete_repo(repo)
    api.create_repo(repo)
    assert api.list_repo_files(repo) == [".gitattributes"]
    assert len(api.list_repo_commits(repo)) == 1


def test_moving_takes_files_and_history_along(api: HfApi, repo: str) -> None:
    api.upload_file(path_or_fileobj=b"\0" * 99, path_in_repo="a.bin", repo_id=repo)
    sha = api.model_info(repo).sha
    api.move_repo(repo, "elsewhere/moved")
    assert api.model_info("elsewhere/moved").sha == sha
    assert api.get_paths_info("elsewhere/moved", "a.bin")[0].lfs
    api.create_repo(repo)
    with pytest.raises(HfHubHTTPError, match="already"):
        api.move_repo(repo, "elsewhere/moved")


def test_an_old_name_leads_to_the_new_until_taken(api: HfApi, running: Running, repo: str, tmp_path: Path) -> None:
    api.upload_file(path_or_fileobj=b"text", path_in_repo="a/b c.txt", repo_id=repo)
    api.move_repo(repo, f"{repo}-new")
    assert api.repo_info(repo).id == f"{repo}-new"
    assert Path(api.hf_hub_download(repo, "a/b c.txt", cache_dir=tmp_path)).read_text() == "text"
    assert api.get_paths_info(repo, "a/b c.txt")[0].size == 4
    subprocess.run(["git", "clone", "-q", f"{running.url}/{repo}", str(tmp_path / "clone")], check=True)
    assert (tmp_path / "clone" / "a" / "b c.txt").read_text() == "text"
    with pytest.raises(HfHubHTTPError):
        api.upload_file(path_or_fileobj=b"text", path_in_repo="c.txt", repo_id=repo)
    api.create_repo(repo)
    assert api.list_repo_files(repo) == [".gitattributes"]


def test_names_differing_only_in_case_are_one_repository(api: HfApi, repo: str) -> None:
    assert api.model_info(repo.upper()).id == repo
    assert api.create_repo(repo.upper(), exist_ok=True).repo_id == repo


@pytest.mark.parametrize("bad", ["a..b", "a--b", "x.git", "-a", ".a", "a b", "a" * 97, "", "../x", "é"])
def test_invalid_names_are_refused(wire: Wire, bad: str) -> None:
    answer = wire("POST", "/api/repos/create", {"name": bad, "organization": "lab"})
    assert (answer.status, "is not a repository name" in answer.json["error"]) == (400, True)
    assert wire("POST", "/api/repos/create", {"name": "x", "organization": "api"}).status == 400


def test_gating_is_refused(api: HfApi, repo: str) -> None:
    with pytest.raises(HfHubHTTPError, match="does not have gated repositories"):
        api.update_repo_settings(repo, gated="auto")


def test_a_space_needs_an_sdk_that_exists(api: HfApi, wire: Wire, name: str) -> None:
    answer = wire("POST", "/api/repos/create", {"name": name, "type": "space", "sdk": "basic"})
    assert (answer.status, "sdk" in answer.json["error"]) == (400, True)
    api.create_repo(name, repo_type="space", space_sdk="docker")
    assert api.space_info(name).sdk == "docker"


def test_tags_of_a_card_are_found_by_lists(api: HfApi, repo: str) -> None:
    upload_card(api, repo)
    info = api.model_info(repo)
    assert info.library_name == "peft"
    assert info.pipeline_tag == "text-generation"
    assert info.card_data
    assert info.card_data.base_model == "lab/base"
    wanted = ["permix", "license:apache-2.0", "dataset:lab/data", "base_model:adapter:lab/base", "en", "peft"]
    assert set(wanted) <= set(info.tags or [])
    for tag in wanted:
        assert repo in [row.id for row in api.list_models(filter=tag)]
    number = repo.split("/r")[1]
    matches = api.list_models(author="lab", search=f"R{number}", pipeline_tag="text-generation")
    assert [row.id for row in matches] == [repo]
    assert repo not in [row.id for row in api.list_models(filter="other")]
    assert not list(api.list_models(author="nobody"))
    assert api.model_info(repo, expand=["sha"]).tags is None


def test_datasets_and_spaces_are_found_by_what_their_cards_say(api: HfApi, wire: Wire, name: str) -> None:
    card = "---\ntask_categories: [text-generation]\nsize_categories: n<1K\nlanguage: en\n---\n"
    api.create_repo(name, repo_type="dataset")
    api.upload_file(path_or_fileobj=card.encode(), path_in_repo="README.md", repo_id=name, repo_type="dataset")
    filters = {"task_categories": "text-generation", "size_categories": "n<1K", "language": "en"}
    assert name in [row.id for row in api.list_datasets(**filters)]  # type: ignore[arg-type]
    assert name not in [row.id for row in api.list_datasets(language="de")]
    api.create_repo(name, repo_type="space", space_sdk="static")
    card = f"---\nsdk: static\ndatasets: [{name}]\nmodels: [lab/m]\n---\n"
    api.upload_file(path_or_fileobj=card.encode(), path_in_repo="README.md", repo_id=name, repo_type="space")
    assert [row.id for row in api.list_spaces(datasets=name, models="lab/m")] == [name]
    assert not list(api.list_spaces(datasets=[name, "lab/none"]))
    assert wire("GET", "/api/models?num_parameters=min:6B").status == 501


def test_lists_are_sorted_and_come_in_pages(api: HfApi, wire: Wire, name: str) -> None:
    names = [f"paged/{letter}" for letter in "abcde"]
    for dataset in names:
        api.create_repo(dataset, repo_type="dataset", exist_ok=True)
    assert [row.id for row in api.list_datasets(author="paged")] == names[::-1]
    first = wire("GET", "/api/datasets?author=paged&limit=2")
    assert [row["id"] for row in first.json] == names[:2:-1]
    second = wire("GET", first.headers["link"].split(">")[0].strip("<"))
    assert [row["id"] for row in second.json] == names[2:0:-1]
    upload = {"path_or_fileobj": b"1", "path_in_repo": "x", "repo_id": "paged/a", "repo_type": "dataset"}
    api.upload_file(**upload)
    newest = list(api.list_datasets(author="paged", sort="last_modified", limit=5))
    assert {row.last_modified for row in newest[1:]} <= {newest[0].last_modified, newest[-1].last_modified}
    assert newest[0].last_modified
    assert newest[-1].last_modified
    assert newest[0].last_modified >= newest[-1].last_modified


def test_cards_are_checked_without_a_token(anonymous: Wire) -> None:
    def check(content: str) -> tuple[int, int, int]:
        answer = anonymous("POST", "/api/validate-yaml", {"content": content, "repoType": "model"})
        return answer.status, len(answer.json["errors"]), len(answer.json["warnings"])

    assert check(CARD) == (200, 0, 0)
    assert check("# no metadata") == (200, 0, 1)
    assert check("---\na: [\n---\n") == (400, 1, 0)
    assert check("---\n- a\n---\n") == (400, 1, 0)
    assert check("---\ntags: {a: b}\n---\n") == (400, 1, 0)


def test_pushing_a_card_warns_only_about_missing_metadata(api: HfApi, repo: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        upload_card(api, repo)
    with pytest.warns(UserWarning, match="empty or missing yaml metadata"):
        api.upload_file(path_or_fileobj=b"# nothing", path_in_repo="README.md", repo_id=repo)
