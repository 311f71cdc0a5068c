"""Models by name: those of the paper, changed key by key, and one's own."""

from dataclasses import dataclass
from typing import Any

import pytest

from permix import run_record
from permix.errors import BadInput
from permix.experiment import models
from permix.experiment.models import Model
from permix.pipeline import recipes
from permix.sampling.sampler import Endpoint
from permix.stage import StageConfig, recipe_field
from tests.support.cases import cases


@dataclass(frozen=True, kw_only=True)
class Config(StageConfig):
    writer: Model | None = recipe_field(None)
    judges: tuple[Model, ...] = recipe_field(())


SERVED = Model(name="a", model="x", url="http://127.0.0.1:1/v1", key="A_KEY", price_in=1.0, price_out=2.0)


def test_ours_are_changed_key_by_key_and_ones_own_stand_beside_them() -> None:
    text = {"gpt-5-mini": {"price_in": 0.25}, "mine": {"model": "org/mine", "revision": "abc"}}
    plan = recipes.parse({"name": "x", "benchmarks": ["arithmetic"], "model": text}, "x.toml")
    assert plan.model("gpt-5-mini") == Model(
        name="gpt-5-mini", model="gpt-5-mini", url=models.OPENAI, key="OPENAI_API_KEY", price_in=0.25
    )
    assert (plan.model("mine").repo, plan.model("qwen3-32b").repo) == ("org/mine@abc", "Qwen/Qwen3-32B")
    assert (plan.model("toy").repo, plan.model("gpt-5-mini").repo) == ("permix/permix-toy-teacher", "")
    with pytest.raises(BadInput, match=r"no model 'qwen3': did you mean 'qwen3-32b'\? A model of .*\[model.qwen3\]"):
        plan.model("qwen3")


@pytest.mark.parametrize(("sentence", "row"), cases(__file__)["refusals"])
def test_a_wrong_row_is_refused(sentence: str, row: dict[str, Any]) -> None:
    with pytest.raises(BadInput) as failure:
        recipes.parse({"name": "own", "model": {"x": row}}, "own.toml")
    assert str(failure.value).startswith(sentence)


def test_a_name_with_a_dot_is_quoted_on_the_command_line() -> None:
    plan = recipes.load("toy", ['model."llama3.1-70b".revision=abc', "model.qwen3-32b.concurrency=3"])
    assert (plan.model("llama3.1-70b").revision, plan.model("qwen3-32b").concurrency) == ("abc", 3)


def test_how_a_model_is_reached_is_neither_hashed_nor_recorded() -> None:
    config, other = Config(writer=SERVED), Config(writer=Model(name="a", model="x", url="https://else/v1"))
    assert run_record.digest("s", 1, config, {}) == run_record.digest("s", 1, other, {})
    renamed = Config(writer=Model(name="a", model="y", url="https://else/v1"))
    assert run_record.digest("s", 1, config, {}) != run_record.digest("s", 1, renamed, {})
    judged = run_record.canonical(Config(judges=(SERVED,)))
    assert (judged["judges"], judged["org"]) == ([{"name": "a", "model": "x", "revision": ""}], "permix")


def test_keys_are_looked_up_once_and_a_missing_one_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    config = Config(writer=Model(name="b", model="org/b"), judges=(SERVED,))
    monkeypatch.delenv("A_KEY", raising=False)
    with pytest.raises(BadInput, match=r"variable A_KEY is not set, and a at http://.* asks for a key: set"):
        models.keys(config)
    monkeypatch.setenv("A_KEY", "secret")
    assert models.keys(config) == {"A_KEY": "secret"}
    assert models.keys(Config()) == {}


def test_the_endpoint_and_the_price() -> None:
    assert SERVED.endpoint(3.0) == Endpoint(
        model="x", url="http://127.0.0.1:1/v1", key="A_KEY", price_in=1.0, price_out=2.0, budget=3.0
    )
    assert SERVED.price(1e6, 5e5) == 2.0
