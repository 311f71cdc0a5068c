"""The workflows `publish` and `drift`: what a release puts on the Hub, and whether all of it still holds."""

import json
import os
import re
import shutil
import zipfile
from pathlib import Path
from typing import Any

import pytest

from permix import __version__, files
from permix.automation.ci import drift
from permix.errors import PermixError
from tests.support import workflows
from tests.support.adder import KEY, add
from tests.support.command_line import permix_here
from tests.support.faulty_server import FaultyServer
from tests.support.forge import ADAPTER, BASE, Forge


@pytest.fixture(scope="module")
def released(forge: Forge, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What a release of this version asks to be published; the package was built from a copy of the checkout."""
    copy = tmp_path_factory.mktemp("checkout")
    ignored = shutil.ignore_patterns("__pycache__", ".*_cache")
    for name in ("pipelines", "personas", "hub_cards", "spaces"):
        shutil.copytree(workflows.ROOT / name, copy / name, ignore=ignored)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(workflows.ROOT / name, copy / name)
    event = {"action": "published", "release": {"tag_name": f"v{__version__}"}}
    done = forge.run("publish", "package", event, cwd=copy)
    assert done.ended == 0, done.log
    packages = {f"permix-{__version__}-py3-none-any.whl", f"permix-{__version__}.tar.gz"}
    assert {path.name for path in (copy / "dist").iterdir()} == packages
    with zipfile.ZipFile(next((copy / "dist").glob("*.whl"))) as wheel:
        assert {"permix/automation/ci/evaluation.py", "permix/_data/spaces/pss/pss.py"} <= set(wheel.namelist())
    assert [name.partition("@")[0] for name in done.used][-1] == "actions/upload-artifact"
    resources: list[str] = json.loads(done.outputs["resources"])
    return resources


def publish(forge: Forge, resource: str, token: str | None = None) -> workflows.Ran:
    """The job of one repository. GitHub's identity was exchanged for a token, as huggingface_hub does it there."""
    where = {"HF_ENDPOINT": forge.hub.endpoint, "PERMIX_HOME": str(forge.folder / "home")}
    where["HF_TOKEN"] = forge.bot if token is None else token
    settings: dict[str, Any] = {"variables": forge.variables, "matrix": {"resource": resource}}
    return workflows.run("publish", "hub", forge.folder / "hub", event={}, **settings, **where)


def test_a_release_publishes_personas_metric_spaces_and_collection(forge: Forge, released: list[str]) -> None:
    spaces = {f"spaces/results/{path.parent.name}" for path in files.SPACES.glob("*/README.md")}
    assert {"datasets/results/permix-personas", "spaces/results/pss"} <= set(released)
    assert set(released) - spaces == {"datasets/results/permix-personas"}
    chosen = ["datasets/results/permix-personas", "spaces/results/pss"]
    shas = []
    for resource in [*chosen, chosen[0]]:
        done = publish(forge, resource)
        assert done.ended == 0, done.log
        head = forge.hub.state(resource)
        assert head.intact
        assert head.record
        assert f"{resource}@{head.sha} is v1.0.0" in done.messages
        assert forge.hub.tags(resource) == {"v1.0.0": head.sha}
        shas.append(head.sha)
    assert shas[0] == shas[2], "doing it again changes nothing"
    for _ in range(2):
        done = forge.run("publish", "collection")
        assert done.ended == 0, done.log
    (listed,) = forge.hub.api.list_collections(owner="results")
    items = {(row.item_type, row.item_id) for row in forge.hub.api.get_collection(listed.slug).items}
    assert ("paper", "2604.08986") in items
    assert {("dataset", "results/permix-personas"), ("space", "results/pss")} <= items
    assert f"{forge.hub.endpoint}/collections/{listed.slug}" in done.messages


def test_a_release_with_another_version_builds_nothing(forge: Forge, tmp_path: Path) -> None:
    done = forge.run("publish", "package", {"release": {"tag_name": "v9.9.9"}}, cwd=tmp_path)
    assert done.ended == 2
    assert not (tmp_path / "dist").exists()
    assert f"The release is called 'v9.9.9', and the package is {__version__}: call it v{__version__}." in done.messages


def test_what_cannot_be_published_is_one_sentence(forge: Forge) -> None:
    unknown = publish(forge, "spaces/results/pzz")
    assert unknown.ended == 2
    assert "A release does not publish 'spaces/results/pzz': did you mean 'spaces/results/pss'?" in unknown.messages
    alone = publish(forge, "spaces/results/pss", token="")
    assert alone.ended == 1
    assert "There is no token for spaces/results/pss: make this workflow its trusted publisher" in alone.messages


@pytest.fixture(scope="module")
def sweep() -> str:
    """A sweep of the organisation."""
    options = ("--model", "good-model", "--key", "MY_KEY", "--limit", "1", "--runs", "1", "--benchmark", "arithmetic")
    with FaultyServer(add) as server:
        where = ("--endpoint", server.url, "--recipe", "smoke", "--set", "org=results")
        permix_here(Path(os.environ["PERMIX_HOME"]), "sweep", *where, *options, MY_KEY=KEY)
    return "datasets/results/permix-sweep-good-model-served"


def test_published_artifacts_load_or_are_named(forge: Forge, released: list[str], sweep: str, tmp_path: Path) -> None:
    personas, broken = "datasets/results/permix-personas", "datasets/results/permix-personas-broken"
    shutil.copytree(forge.hub.fetch(forge.state(personas)), tmp_path / "broken")
    data = tmp_path / "broken" / "data" / "eval-00000-of-00001.parquet"
    damaged = data.read_bytes()[:-9]
    data.unlink()
    data.write_bytes(damaged)
    forge.hub.publish(broken, tmp_path / "broken", "damaged", None)
    done = forge.run("drift", "drift", secrets={})
    assert done.ended == 1
    lines = dict(re.findall(r"^\| (\S+) \| (ok \| downloaded whole.*|broken \| .*) \|$", done.messages, re.MULTILINE))
    assert lines[personas] == "ok | downloaded whole, 41 rows in 1 configurations"
    assert lines["spaces/results/pss"] == "ok | downloaded whole, PSS 0.5"
    assert lines[sweep].startswith("ok | downloaded whole, ")
    assert lines[sweep].endswith("verified")
    assert lines[broken].startswith(f"broken | {broken}@")
    assert "does not have the content in its run.json" in lines[broken]
    parts = (f"::error title={broken}::", f"no longer hold: {broken}.", "| huggingface-hub | ")
    assert [part for part in parts if part not in done.messages] == []


def test_models_and_adapters_are_loaded_by_the_stock_libraries(forge: Forge, tmp_path: Path) -> None:
    assert re.fullmatch(r"downloaded whole, \d+ weights", drift.load(forge.state(BASE), forge.hub))
    assert re.fullmatch(r"downloaded whole, \d+ tensors fit the base", drift.load(forge.state(ADAPTER), forge.hub))
    shutil.copytree(forge.adapter, tmp_path / "lora")
    path = tmp_path / "lora" / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"r": 2}))
    forge.hub.publish("me/misfit", tmp_path / "lora", "another rank", None)
    sentence = "me/misfit no longer loads: PermixError: the base has no place for base_model"
    with pytest.raises(PermixError, match=sentence):
        drift.load(forge.state("me/misfit"), forge.hub)
