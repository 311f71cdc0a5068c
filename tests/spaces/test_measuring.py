"""Measure my model on the leaderboard: a real sweep, its row in the table and its pull request for the card."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from gradio_client import Client
from huggingface_hub import HfApi, ModelCard

from embedded_hub import launch
from tests.support.cases import cases
from tests.support.spaces import serve
from tests.support.waiting import wait_until

ORG, OWN = "measured", "alice/own-adapter"
TINY = """
base = "toy"
variants = ["base"]
benchmarks = ["arithmetic"]
[sweep]
runs = 1
limit = 2
max_tokens = 4
draws = 20
"""


@pytest.fixture(scope="module")
def api(running: launch.Running, tmp_path_factory: pytest.TempPathFactory) -> HfApi:
    """The Hub with another owner's adapter, and repositories that cannot be measured."""
    api = HfApi(endpoint=running.url, token=running.token)
    folder = Path(api.snapshot_download("permix-smoke/permix-toy-rlvr", local_dir=tmp_path_factory.mktemp("own")))
    (folder / "README.md").write_text("---\nlicense: mit\n---\n# Mine\n")
    api.create_repo(f"{ORG}/permix-personas", repo_type="dataset")  # the organisation exists
    for name, private in ((OWN, False), ("alice/private", True)):
        api.create_repo(name, private=private)
        api.upload_folder(repo_id=name, folder_path=folder, ignore_patterns=["run.json", ".cache/*"])
    swollen = {"peft_type": "LORA", "base_model_name_or_path": "x" * 1_000_000}
    for name, config in (("pickled", {}), ("homeless", {"peft_type": "LORA"}), ("swollen", swollen)):
        name = f"alice/{name}"
        api.create_repo(name)
        path = "adapter_config.json" if config else "config.json"
        api.upload_file(repo_id=name, path_in_repo=path, path_or_fileobj=json.dumps(config).encode())
    return api


@contextmanager
def serving(running: launch.Running, folder: Path, image: str) -> Iterator[Client]:
    """The leaderboard with the tab; `image` runs the sweeps (`local`: a process)."""
    (folder / "tiny.toml").write_text(TINY)
    settings = {"PERMIX_ORG": ORG, "PERMIX_MEASURE": image, "PERMIX_MEASURE_RECIPE": str(folder / "tiny.toml")}
    settings |= {"PERMIX_HOME": str(folder), "TMPDIR": str(folder)}
    with serve("permix-leaderboard", folder, **launch.client_environment(running, folder), **settings) as url:
        yield Client(url, verbose=False)


@pytest.fixture(scope="module")
def page(running: launch.Running, api: HfApi, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    with serving(running, tmp_path_factory.mktemp("measure"), "local") as client:
        yield client


def states(page: Client) -> dict[str, list[str]]:
    _, table = page.predict("", api_name="/measure")
    return {row[0]: row[1:] for row in table["data"]}


def ended(page: Client) -> list[str]:
    wait_until(lambda: states(page)[OWN][0] not in ("waiting", "running"), every=0.5)
    return states(page)[OWN]


def test_a_model_is_measured_and_its_result_offered_to_its_card(page: Client, api: HfApi) -> None:
    assert "is waiting to be measured" in page.predict(OWN, api_name="/measure")[0]
    assert re.search("is already (waiting|running)", page.predict(OWN, api_name="/measure")[0])
    assert ended(page) == ["measured", ""]
    assert f'href="{api.endpoint}/{OWN}/discussions/1"' in page.predict(OWN, api_name="/offer")
    (row,) = [row for row in page.predict(api_name="/table") if row["name"].endswith("own-adapter-alice")]
    card = ModelCard.load(Path(api.hf_hub_download(OWN, "README.md", revision="refs/pr/1")))
    results = {result.metric_name: result for result in card.data.eval_results or []}
    assert results["accuracy, mean over personas"].metric_value == row["mean"]
    assert results["accuracy, mean over personas"].dataset_revision == row["revision"]
    assert card.data.license == "mit"
    assert "# Mine" in card.text
    assert "model-index" not in Path(api.hf_hub_download(OWN, "README.md")).read_text()
    assert "already offered" in page.predict(OWN, api_name="/offer")


@pytest.mark.parametrize(("repo", "sentence"), cases(__file__)["refused repositories"])
def test_a_repository_that_cannot_be_measured_gets_a_sentence(page: Client, repo: str, sentence: str) -> None:
    assert sentence in page.predict(repo, api_name="/measure")[0]
    assert repo not in states(page)


def test_with_an_image_the_sweep_runs_as_a_job(running: launch.Running, api: HfApi, tmp_path: Path) -> None:
    launch.allow_jobs(running.root)
    with serving(running, tmp_path, "permix:any") as page:
        page.predict(OWN, api_name="/measure")
        assert ended(page) == ["measured", ""]
    jobs = {(job.docker_image, job.status.stage) for job in api.list_jobs(namespace=ORG)}
    assert jobs == {("permix:any", "COMPLETED")}
    assert api.repo_exists(f"{ORG}/permix-sweep-permix-toy-base-own-adapter-alice", repo_type="dataset")


def test_a_model_that_was_not_measured_cannot_be_offered(page: Client) -> None:
    assert "measure it first" in page.predict("alice/pickled", api_name="/offer")
