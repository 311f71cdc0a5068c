"""permix.results.claims.statements and verdicts: the paper's statements, on its own numbers and on made-up ones."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from permix.results.claims import verdicts
from permix.results.claims.statements import STATEMENTS, Above, Statement
from permix.results.claims.verdicts import Measured, Printed, examine
from tests.support.cases import cases

ON_THE_PAPER = cases(__file__)["verdicts on the paper's numbers"]
MORE = Statement("q", "1", (Above(("pss",), ("permix-rlvr",), ("rlvr",), ("gsm8k",)),))


def row(name: str, value: float, benchmark: str = "arithmetic", seed: int = 0) -> dict[str, Any]:
    ends = {f"{m}{end}": value + d for m in ("pss", "voice") for end, d in (("", 0), ("_low", -0.1), ("_high", 0.1))}
    return {"variant": name, "benchmark": benchmark, "seed": seed, **ends}


def source(
    rows: list[dict[str, Any]], low: float = 0.1, high: float = 0.3, p: float = 0.001, *, toy: bool = True
) -> Measured:
    def paired(first: Mapping[str, Any], second: Mapping[str, Any]) -> Mapping[str, float]:
        return {"pss_low": low, "pss_high": high, "pss_p_value": p}

    return Measured(rows, paired, toy)


def words(examined: dict[str, Any] | None) -> str:
    """The verdict without the numbers behind it."""
    return verdicts.verdict(examined).partition(" [")[0]


def test_every_verdict_on_the_papers_own_numbers() -> None:
    assert {str(r["number"]): words(r["paper"]) for r in verdicts.table()} == ON_THE_PAPER


def test_quotes_are_verbatim(shared: Path) -> None:
    text = " ".join((shared / "paper" / "paper.txt").read_text().split())
    for statement in STATEMENTS:
        assert statement.quote in text


def test_the_headline_numbers_are_the_papers_cells() -> None:
    printed = Printed()
    cells = [printed.value((name, "math500", "pss")) or 0 for name in ("permix-rlvr", "rlvr")]
    assert cells[0] / cells[1] - 1 == pytest.approx(0.212, abs=5e-4)
    scores = [printed.value((n, "personagym", "persona_consistency")) or 0 for n in ("permix-rlvr", "rlvr")]
    assert scores[0] / scores[1] - 1 == pytest.approx(0.114, abs=5e-4)


def test_32_scores_cannot_tell_3_41_from_3_06() -> None:
    ends = Printed().interval(
        ("permix-rlvr", "personagym", "persona_consistency"), ("rlvr", "personagym", "persona_consistency")
    )
    assert ends is not None
    assert ends[0] < 0 < 0.35 < ends[1]


def test_a_printed_share_of_none_is_no_certainty(monkeypatch: pytest.MonkeyPatch) -> None:
    printed = Printed()
    for variant in ("base", "rlvr"):
        monkeypatch.setitem(printed._cells, (variant, "math500", "worst"), 0.0)
    ends = printed.interval(("rlvr", "math500", "worst"), ("base", "math500", "worst"))
    assert ends is not None
    assert ends[0] < 0 < ends[1]


def test_ours_holds_or_fails_with_or_without_noise() -> None:
    better, worse = [row("rlvr", 0.5), row("permix-rlvr", 0.7)], [row("rlvr", 0.5), row("permix-rlvr", 0.4)]
    assert words(examine(MORE, source(better))) == "holds"
    assert words(examine(MORE, source(better, low=-0.1))) == "holds, inside the noise"
    assert words(examine(MORE, source(better, p=0.2))) == "holds, inside the noise"
    assert words(examine(MORE, source(worse, low=-0.3, high=-0.1))) == "fails"
    assert words(examine(MORE, source(worse, low=-0.3))) == "fails, inside the noise"


def test_a_verdict_prints_the_difference_that_decided_with_interval_and_p() -> None:
    """Of what holds the least certain comparison, of what fails the most certain failing one."""
    rows = [row("rlvr", 0.5), row("permix-rlvr", 0.7)]
    decided = "[pss of permix-rlvr - rlvr, arithmetic: +0.200, -0.100 to +0.300, p 0.200]"
    examined = verdicts.verdict(examine(MORE, source(rows, low=-0.1, p=0.2)))
    assert examined == f"holds, inside the noise {decided}"
    both = Statement("q", "1", (*MORE.formula, Above(("pss",), ("permix-rlvr",), ("base",), ("gsm8k",))))
    seeds = [row("base", v, seed=s) for s, v in enumerate((0.4, 0.42, 0.38))]
    seeds += [row("rlvr", v, seed=s) for s, v in enumerate((0.6, 0.5, 0.7))]
    for level, which in ((0.8, "rlvr"), (0.3, "base"), (0.55, "rlvr")):
        mixed = [*seeds, *(row("permix-rlvr", level + d, seed=s) for s, d in enumerate((0, 0.01, -0.01)))]
        assert f"[pss of permix-rlvr - {which}, arithmetic: " in verdicts.verdict(examine(both, source(mixed)))


def test_an_improvement_short_of_the_factor_fails_for_certain_only_where_the_interval_says_so() -> None:
    half_more = Statement("q", "1", (Above(("pss",), ("permix-rlvr",), ("rlvr",), ("gsm8k",), times=1.5),))
    rows = [row("rlvr", 0.5), row("permix-rlvr", 0.7)]
    assert verdicts.verdict(examine(half_more, source(rows, low=0.1, high=0.24))) == (
        "fails [pss of permix-rlvr - 1.5 x rlvr, arithmetic: -0.050, -0.150 to -0.010]"
    )
    assert words(examine(half_more, source(rows, low=0.1, high=0.3))) == "fails, inside the noise"


def test_a_factor_is_part_of_the_comparison() -> None:
    twice = Statement("q", "1", (Above(("pss",), ("permix-rlvr",), ("rlvr",), ("gsm8k",), times=2.0),))
    assert examine(twice, source([row("rlvr", 0.5), row("permix-rlvr", 0.7)]))["verdict"] == "fails"
    nearly = Statement("q", "1", (Above(("pss",), ("permix-rlvr",), ("rlvr",), ("gsm8k",), times=0.9),))
    examined = examine(nearly, source([row("rlvr", 0.5), row("permix-rlvr", 0.48)], low=-0.03, high=0.01))
    assert words(examined) == "holds"


@pytest.mark.parametrize("missing", ["rlvr", "permix-rlvr"])
def test_a_missing_variant_is_not_measured(missing: str) -> None:
    rows = [r for r in (row("rlvr", 0.5), row("permix-rlvr", 0.7)) if r["variant"] != missing]
    assert words(examine(MORE, source(rows))) == verdicts.verdict(None) == "not measured"


def test_toy_benchmarks_stand_for_the_papers_only_in_the_toy_world() -> None:
    rows = [row("rlvr", 0.5), row("permix-rlvr", 0.7)]
    assert examine(MORE, source(rows, toy=False))["verdict"] == "not measured"
    assert examine(MORE, source([r | {"benchmark": "gsm8k"} for r in rows], toy=False))["verdict"] == "holds"
    code = Statement("q", "1", (Above(("pss",), ("permix-rlvr",), ("rlvr",), ("livecodebench-easy",)),))
    assert examine(code, source(rows))["verdict"] == "not measured"


def test_voice_stands_for_consistency_in_the_toy_world() -> None:
    consistency = Statement("q", "1", (Above(("persona_consistency",), ("permix-rlvr",), ("rlvr",), ("personagym",)),))
    assert words(examine(consistency, source([row("rlvr", 0.5), row("permix-rlvr", 0.9)]))) == "holds"


def test_seeds_give_a_t_interval() -> None:
    rows = [row("rlvr", v, seed=s) for s, v in enumerate((0.5, 0.52, 0.48))]
    rows += [row("permix-rlvr", v, seed=s) for s, v in enumerate((0.7, 0.71, 0.69))]
    assert words(examine(MORE, source(rows, low=-9, high=9))) == "holds"


def test_the_table_is_plain_json() -> None:
    assert json.loads(json.dumps(verdicts.table(), allow_nan=False))[0]["formula"].startswith(
        "pss of permix-rlvr > 1.21"
    )
