"""permix phase: what it changes of a recipe, what it reads of the tables, and what it refuses."""

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from permix import cli
from permix.commands.phase import as_text
from permix.errors import BadInput
from permix.experiment import phase
from permix.pipeline import plan as chain
from permix.pipeline import recipes
from permix.results.reporting import paper_figures
from permix.stages import base
from tests.support.cases import cases

SHARES = (0.0, 0.1, 0.2, 0.34, 0.5)
LINE = {"pss": 0.5, "pss_low": 0.4, "pss_high": 0.6, "voice": 0.9, "voice_low": 0.8, "voice_high": 1.0}
CLAIM = {"benchmark": "arithmetic", "measure": "pss", "first": "rlvr", "second": "permix-rlvr"}
FACTS: dict[str, Any] = {
    "tables": {"arithmetic": [{"variant": name, **LINE} for name in ("base", "rlvr", "permix-rlvr")]},
    "claims": [CLAIM | {"measure": "worst"}, CLAIM | {"difference": 0.2, "low": -0.1, "high": 0.5}],
}
LEAD = {"lead": 0.2, "lead_low": -0.1, "lead_high": 0.5}


def test_the_recipe_phase_has_three_seeds_of_both_rl_variants() -> None:
    plan = recipes.load("phase")
    assert (plan.seeds, plan.variants, plan.org) == ((0, 1, 2), ("base", "rlvr", "permix-rlvr"), "permix-phase")
    assert plan.shares == SHARES


@pytest.mark.parametrize("share", SHARES)
def test_a_share_moves_the_weak_odds_and_keeps_the_ratios(share: float) -> None:
    (config,) = base.configs(recipes.load("phase", phase.overrides("permix-phase", share)))
    steps, skim, direct, ramble = config.plain
    assert direct + ramble == pytest.approx(share, abs=1e-5)
    assert steps + skim == pytest.approx(1 - share, abs=1e-5)
    assert steps / skim == pytest.approx(0.42 / 0.24, rel=1e-4)
    assert not share or direct / ramble == pytest.approx(0.22 / 0.12, rel=1e-4)


def test_shares_publish_to_orgs_of_their_own() -> None:
    plans = [recipes.load("phase", phase.overrides("permix-phase", share)) for share in SHARES]
    targets = [{step.target for step in chain.build(plan)} for plan in plans]
    assert len(set.union(*targets)) == sum(map(len, targets))
    assert len({len(t) for t in targets}) == 1


def test_a_diagram_is_drawn_of_tables_and_its_numbers_are_beside_it(tmp_path: Path) -> None:
    rows = [row for share in (0.0, 0.5) for row in phase.points(share, FACTS)]
    assert len(rows) == 6
    assert rows[0] == {"benchmark": "arithmetic", "variant": "base", "share": 0.0, **LINE} | (dict.fromkeys(LEAD))
    assert [{name: row[name] for name in LEAD} for row in rows if row["lead"] is not None] == [LEAD, LEAD]
    for number in ("1", "2"):
        paper_figures.phase(rows, tmp_path / number)
    for ending in ("png", "svg", "csv"):
        assert (tmp_path / f"1.{ending}").read_bytes() == (tmp_path / f"2.{ending}").read_bytes()
    text = as_text([*rows, rows[0] | {"pss": None}]).splitlines()
    assert (text[1].split(), text[3].split()[-1]) == (["arithmetic", "0.00", "base", "0.500", "0.900", "-"], "0.200")
    assert text[-3].split()[-3] == "-"


def test_the_recorded_diagram_has_five_shares_of_three_variants_and_is_drawn(tmp_path: Path) -> None:
    rows = paper_figures.recorded_phase()
    assert sorted({row["share"] for row in rows}) == list(SHARES)
    assert len(rows) == 15
    assert sum(row["lead"] is not None for row in rows) == 5
    paper_figures.phase(rows, tmp_path / "phase")
    assert (tmp_path / "phase.csv").read_text().splitlines()[1:] == paper_figures.PHASE.read_text().splitlines()[1:]


@pytest.mark.parametrize(("arguments", "sentence"), cases(__file__)["refusals"])
def test_what_it_cannot_draw_is_refused_before_anything_is_made(arguments: list[str], sentence: str) -> None:
    done = CliRunner().invoke(cli.app, ["phase", *arguments])
    assert isinstance(done.exception, BadInput)
    assert sentence in str(done.exception)
