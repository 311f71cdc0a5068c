"""Values of recipes and run records, as the types of our dataclasses."""

import json
from typing import Any, Literal

import pytest

from permix import run_record
from permix.errors import BadInput
from permix.pipeline import checking, plan, recipes
from tests.support.cases import cases

HINTS: dict[str, Any] = {
    "word": str, "count": int, "share": float, "way": Literal["fast", "slow"], "many": tuple[float, ...],
    "perhaps": int | None,
}  # fmt: skip


def checked(key: str, value: Any) -> Any:
    return checking.check({key: value}, HINTS, HINTS, "[x] of mine.toml")[key]


def test_values_take_the_type_that_is_asked_for() -> None:
    assert [checked("share", 1), checked("perhaps", None), checked("perhaps", 3)] == [1.0, None, 3]
    assert checked("many", [1, 2.5]) == (1.0, 2.5)
    assert checked("way", "slow") == "slow"


@pytest.mark.parametrize(("key", "value", "sentence"), cases(__file__)["wrong_types"])
def test_a_wrong_type_says_which_was_expected(key: str, value: Any, sentence: str) -> None:
    with pytest.raises(BadInput, match=sentence):
        checked(key, value)


def test_an_unknown_key_names_the_nearest_and_what_is_no_table_is_refused() -> None:
    with pytest.raises(BadInput, match="unknown key 'cuont': did you mean 'count'"):
        checking.check({"cuont": 1}, HINTS, HINTS, "[x]")
    with pytest.raises(BadInput, match=r"\[x\] is 3: it should be a table"):
        checking.check(3, HINTS, HINTS, "[x]")


@pytest.mark.parametrize("name", recipes.names())
def test_every_config_of_a_sweep_comes_back_from_its_record(name: str) -> None:
    sweeps = [step.config for step in plan.build(recipes.load(name)) if step.stage.name == "sweep"]
    assert sweeps
    for config in sweeps:
        recorded = json.loads(json.dumps(run_record.canonical(config)))
        assert run_record.canonical(run_record.config_of(type(config), recorded)) == run_record.canonical(config)
