"""The rows of Tables 2 and 3."""

import pytest

from permix.errors import BadInput
from permix.paper import variants
from tests.support.cases import cases


def test_the_papers_twelve_rows_are_there() -> None:
    rows = [v for v in variants.VARIANTS.values() if v.teacher != "toy"]
    assert len(rows) == 12
    assert [v.name for v in rows if v.trainer == "grpo"] == ["rlvr", "permix-rlvr"]
    assert sum(v.persona for v in rows) == 6


def test_an_unknown_variant_names_the_nearest() -> None:
    with pytest.raises(BadInput, match="did you mean 'permix-rlvr'"):
        variants.get("permix_rlvr")


@pytest.mark.parametrize(("name", "slug", "stands", "title"), cases(__file__)["other models"])
def test_another_model_is_an_untrained_row(name: str, slug: str, stands: str, title: str) -> None:
    model = variants.other(name)
    assert model
    assert (model.slug, model.variant) == (slug, stands)
    row = variants.get(name)
    assert (row.name, row.title, row.trainer, row.persona, row.teacher) == (name, title, "none", False, "")


def test_the_name_of_a_row_is_not_another_model() -> None:
    assert all(variants.other(name) is None for name in variants.VARIANTS)


@pytest.mark.parametrize("name", ["org/", "/model", "a/b/c", "org/model+", "org/model+lora", "org/a b"])
def test_a_malformed_hub_id_is_refused(name: str) -> None:
    with pytest.raises(BadInput, match="should be org/model, or org/model\\+org/adapter"):
        variants.get(name)
