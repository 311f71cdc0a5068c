"""The rows of Tables 2 and 3."""

import pytest

from permix import variant
from permix.errors import BadInput


def test_the_papers_twelve_rows_are_there() -> None:
    rows = [v for v in variant.VARIANTS.values() if v.teacher != "toy"]
    assert len(rows) == 12
    assert [v.name for v in rows if v.trainer == "grpo"] == ["rlvr", "permix-rlvr"]
    assert sum(v.persona for v in rows) == 6


def test_an_unknown_variant_names_the_nearest() -> None:
    with pytest.raises(BadInput, match="did you mean 'permix-rlvr'"):
        variant.get("permix_rlvr")
