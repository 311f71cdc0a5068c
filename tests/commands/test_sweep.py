"""permix sweep of any model: its options are changes of a recipe, and the result is published like every sweep."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from permix.commands import run as run_command
from permix.errors import BadInput
from permix.experiment.recipe import Recipe
from permix.pipeline import recipes
from permix.pipeline.ad_hoc import DEFAULT, Target
from permix.publishing.hub import Artifact
from tests.support.adder import KEY, add
from tests.support.cases import cases
from tests.support.command_line import permix, permix_here
from tests.support.faulty_server import FaultyServer
from tests.support.models import make_adapter, make_tiny_model

SERVED = "datasets/permix-smoke/permix-sweep-good-model-served"


def changed(*variants: str, **options: str) -> Recipe:
    return recipes.load("smoke", Target(**options).overrides(variants))


def test_variants_and_a_base_of_ones_own() -> None:
    assert changed().variants == ("base", "rlvr", "permix-rlvr")
    assert changed("rlvr", "org/other").variants == ("rlvr", "org/other")
    recipe = changed(base="org/model@v2")
    assert (recipe.base, recipe.variants) == ("org/model@v2", ("base",))
    assert changed(base="org/model", adapter="me/lora").variants == ("org/model+me/lora",)
    assert changed("base", base="org/model", adapter="me/lora").variants == ("base", "org/model+me/lora")


def test_a_server_is_a_model_of_the_recipe() -> None:
    recipe = changed(endpoint="http://127.0.0.1:9/v1", model="vendor/Good Model:7b", key="MY_KEY")
    assert recipe.variants == ("model.Good-Model-7b",)
    model = recipe.model("Good-Model-7b")
    assert (model.model, model.url, model.key) == ("vendor/Good Model:7b", "http://127.0.0.1:9/v1", "MY_KEY")
    own_server = changed(endpoint="http://127.0.0.1:9/v1", model="gpt-5-mini").model("gpt-5-mini")
    assert own_server.key == "", "a server of one's own does not get the key of another that serves the same name"


def test_a_model_beside_our_recipes_is_measured_by_a_small_one() -> None:
    assert Target().recipe("") == "toy"
    assert Target(base="org/model").recipe("") == DEFAULT in recipes.names()
    assert Target(base="org/model").recipe("paper") == "paper"


def test_personas_of_a_file_name_the_sweep() -> None:
    recipe = changed(personas="some/My people.json")
    assert (recipe.eval_personas, recipe.settings("sweep")["label"]) == ("some/My people.json", "My-people")


@pytest.mark.parametrize(("options", "sentence"), cases(__file__)["refusals"])
def test_options_that_do_not_fit_are_one_sentence(options: dict[str, str], sentence: str) -> None:
    with pytest.raises(BadInput, match=sentence):
        changed(**options)


@pytest.mark.parametrize(("best", "pss", "end"), [(0.5, 0.4, "pss 0.400"), (0.0, None, ", pss is not defined: no")])
def test_a_missing_pss_says_why(best: float, pss: float | None, end: str, capsys: pytest.CaptureFixture[str]) -> None:
    summary = {"pss": {"worst": 0.0, "best": best, "mean": 0.0, "pss": pss}, "accuracy": {}, "voice": None}
    record = {"facts": {"summary": {"benchmarks": {"quiz": summary}}}}
    run_command._show_summary(Artifact("datasets/o/s", "0" * 40, {}, record))
    printed = capsys.readouterr().out
    assert end in printed
    assert (pss is None) == ("not defined" in printed)


def test_a_default_system_message_and_notes_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    record = {"facts": {"default_system": "You are Qwen.", "notes": ["peft warns."]}}
    run_command._show_summary(Artifact("datasets/o/s", "0" * 40, {}, record))
    first, second = capsys.readouterr().err.splitlines()
    assert first == "Note: The control none carries the chat template's default system message: You are Qwen."
    assert second == "Note: peft warns."


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home without a base: nothing is trained for these sweeps."""
    return tmp_path_factory.mktemp("sweep") / "home"


def run(home: Path, *arguments: str, check: bool = True, **environment: str) -> Any:
    small = ("--limit", "3", "--benchmark", "arithmetic", "--recipe", "smoke", "--workers", "1")
    return permix_here(home, "sweep", *arguments, *small, check=check, **environment)


def test_one_command_measures_a_served_model(home: Path) -> None:
    with FaultyServer(add) as server:
        reached = ("--endpoint", server.url, "--model", "good-model", "--key", "MY_KEY")
        first = run(home, *reached, MY_KEY=KEY)
        requests = len(server.asked)
        again = run(home, *reached, MY_KEY=KEY)
        assert requests == len(server.asked) == 18 * 3 * 2
        peer = run(home, *reached, "--peer", "restate", MY_KEY=KEY)
    assert first.stdout.startswith(f"{SERVED}@")
    assert first.stdout == again.stdout
    assert "Note: arithmetic: 3 problems x 2 runs" in first.stderr
    assert "Note: arithmetic" not in again.stderr
    assert f"{SERVED}@" in permix_here(home, "verify", SERVED).stdout, "no server is needed to check it"
    assert peer.stdout.startswith(f"{SERVED}-restate@")
    assert "0 scores and 0 of" in permix_here(home, "verify", f"{SERVED}-restate").stdout
    lines = [line.split() for line in permix_here(home, "selectors", SERVED, f"{SERVED}-restate").stdout.splitlines()]
    (restated,) = (line for line in lines if line[:1] == ["restate"])
    (plain,) = (line for line in lines if line[:1] == ["none"])
    assert (restated[1], restated[-2:]) == (plain[1], ["2", "9"]), "accuracy, completions, tokens"
    record = json.loads(permix_here(home, "show", SERVED, "--json").stdout)
    assert record["facts"]["engines"] == ["endpoint good-model-0301"]
    assert "base" not in record["inputs"]
    assert record["config"]["model"] == {"name": "good-model", "model": "good-model", "revision": ""}
    for secret in (KEY, server.url):
        assert not [path for path in home.rglob("*.json") if secret in path.read_text(errors="replace")]
    card = permix(home, "hub", "exec", "--", sys.executable, "-c", CARD).stdout
    assert "All completions of `good-model` under" in card
    assert "served by an endpoint; model string as reported: `good-model-0301`" in card


CARD = f"""
from huggingface_hub import hf_hub_download
print(open(hf_hub_download("{SERVED.removeprefix("datasets/")}", "README.md", repo_type="dataset")).read())
"""


def test_a_wrong_key_and_no_key_are_one_sentence(home: Path) -> None:
    with FaultyServer(add) as server:
        reached = ("--endpoint", server.url, "--model", "other-model", "--key", "MY_KEY")
        unset = run(home, *reached, check=False)
        wrong = run(home, *reached, check=False, MY_KEY="nope")
    assert unset.returncode == wrong.returncode == 2
    assert "The environment variable MY_KEY is not set, and other-model at http" in unset.stderr
    assert "key" in wrong.stderr.splitlines()[-1]
    assert "nope" not in wrong.stderr


def test_any_base_with_any_adapter_under_personas_of_a_file(home: Path, tmp_path: Path) -> None:
    make_tiny_model(tmp_path / "base")
    make_adapter(tmp_path / "base", tmp_path / "lora", seed=1)
    people = [{"key": key, "category": "Own", "system_prompt": f"You are a {key}."} for key in ("sailor", "clown")]
    (tmp_path / "crew.json").write_text(json.dumps(people))
    for name, target in (("base", "me/tiny"), ("lora", "me/tiny-lora")):
        permix(home, "hub", "import", str(tmp_path / name), target)
    own = ("--personas", str(tmp_path / "crew.json"), "--max-tokens", "4")
    done = run(home, "--base", "me/tiny", "--adapter", "me/tiny-lora", *own)
    target = "datasets/permix-smoke/permix-sweep-tiny-tiny-lora-crew"
    assert done.stdout.startswith(f"{target}@")
    record = json.loads(permix_here(home, "show", target, "--json").stdout)
    inputs = {name: source["repo"] for name, source in record["inputs"].items()}
    pool = "datasets/permix-smoke/permix-personas-crew"
    assert inputs == {"base": "me/tiny", "adapter": "me/tiny-lora", "personas": pool}
    summary = record["facts"]["summary"]["benchmarks"]["arithmetic"]
    assert summary["accuracy"].keys() == {"none", "helpful", "sailor", "clown"}
    assert str(tmp_path) not in json.dumps(record)
    assert run(home, "--base", "me/tiny", "--adapter", "me/tiny-lora", *own).stdout == done.stdout
