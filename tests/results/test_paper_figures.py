"""permix.results.reporting.paper_figures: what is drawn, and the numbers beside it."""

import csv
import itertools
import statistics
from pathlib import Path
from typing import Any

import pytest

from permix.prompting import persona
from permix.results.reporting import dynamics, figures, paper_figures
from permix.results.reporting.dynamics import Course

NAMES = ("base", "rlvr", "permix-rlvr")
PEOPLE = [
    {"variant": v, "benchmark": b, "persona": p.key, "accuracy": 0.3 + 0.02 * i}
    for v in NAMES
    for b in ("arithmetic", "arithmetic-long")
    for i, p in enumerate((*persona.CONTROLS, *persona.bundled("eval")))
]
LINES = [
    {"variant": v, "benchmark": "arithmetic", "pss": p, "pss_low": p - 0.1, "pss_high": p + 0.1, "voice": 0.9}
    | {"voice_low": None, "voice_high": None}
    for v, p in zip(NAMES, (0.3, 0.6, 0.8), strict=True)
]
LOG = [
    {"step": n + 1, "reward": n / 10, "persona/chef/accuracy": 0.1, "persona/pilot/accuracy": n / 10} for n in range(10)
]
PROBES = [{"step": n, "worst": 0.1 * n, "pss": None if n == 0 else 0.2 * n, "fidelity": 0.9} for n in range(3)]
STYLES = {
    title: {p["persona"]: {"steps": 0.6, "direct": 0.4} for p in PEOPLE[:18]} for title in ("Base", "Base, by Eq. 3")
}


def table(stem: Path) -> list[dict[str, Any]]:
    with stem.with_suffix(".csv").open() as file:
        return list(csv.DictReader(file))


def test_best_of_k_is_the_mean_over_all_ways_to_draw_k() -> None:
    values = [0.1, 0.5, 0.2, 0.9, 0.4]
    for k in range(1, 6):
        drawn = statistics.mean(max(some) for some in itertools.combinations(values, k))
        assert paper_figures.best_of(values, k) == pytest.approx(drawn)


@pytest.mark.parametrize("kind", ["lottery", "tradeoff", "styles", "dynamics"])
def test_each_figure_has_its_numbers_beside_it_and_the_same_bytes_each_time(kind: str, tmp_path: Path) -> None:
    for number in ("1", "2"):
        stem = tmp_path / number / kind
        match kind:
            case "lottery":
                paper_figures.lottery(PEOPLE, stem, toy=True)
            case "tradeoff":
                paper_figures.tradeoff(LINES, stem, toy=False)
            case "styles":
                paper_figures.styles(STYLES, "arithmetic", stem)
            case "dynamics":
                dynamics.draw({"rlvr-seed0": Course(LOG, PROBES), "permix-rlvr-seed0": Course(LOG)}, stem)
    for ending in ("png", "svg", "csv"):
        first, second = ((tmp_path / n / f"{kind}.{ending}").read_bytes() for n in ("1", "2"))
        assert first == second
        assert first
    assert len(table(tmp_path / "1" / kind)) >= 3


def test_the_lottery_leaves_controls_out(tmp_path: Path) -> None:
    paper_figures.lottery(PEOPLE, tmp_path / "l", toy=False)
    rows = table(tmp_path / "l")
    assert max(int(row["k"]) for row in rows) == 16
    assert float(rows[15]["accuracy"]) == pytest.approx(0.3 + 0.02 * 17)


def test_dynamics_show_the_lowest_and_highest_training_persona(tmp_path: Path) -> None:
    dynamics.draw({"permix-rlvr-seed0": Course(LOG)}, tmp_path / "d")
    rows = [r for r in table(tmp_path / "d") if r["what"] != "reward"]
    assert [float(r["value"]) for r in rows if r["what"] == "highest"] == pytest.approx([0.1, 0.25, 0.45, 0.65, 0.85])
    assert [float(r["value"]) for r in rows if r["what"] == "lowest"] == pytest.approx([0.05, 0.1, 0.1, 0.1, 0.1])


def test_a_log_without_personas_shows_the_reward_alone(tmp_path: Path) -> None:
    dynamics.draw({"rlvr-seed0": Course([{"step": 1, "reward": 0.5}, {"step": 2, "reward": 0.6}])}, tmp_path / "d")
    assert {row["what"] for row in table(tmp_path / "d")} == {"reward"}


def test_probes_are_drawn_step_by_step_and_a_pss_that_is_not_defined_is_left_out(tmp_path: Path) -> None:
    dynamics.draw({"rlvr-seed0": Course(LOG, PROBES)}, tmp_path / "d")
    points = [(row["what"], int(row["step"])) for row in table(tmp_path / "d")]
    assert [step for what, step in points if what == "worst"] == [0, 1, 2]
    assert [step for what, step in points if what == "pss"] == [1, 2]


def test_a_training_without_reward_has_no_dynamics(tmp_path: Path) -> None:
    dynamics.draw({"sft-seed0": Course()}, tmp_path / "d")
    assert not list(tmp_path.iterdir())


def test_fidelity_is_the_first_measure_that_there_is(tmp_path: Path) -> None:
    score = {"persona_consistency": 3.1, "persona_consistency_low": 3.0, "persona_consistency_high": 3.3}
    told = {"recovery": 0.4, "recovery_low": 0.3, "recovery_high": 0.5, "voice": None}
    for number, lines in enumerate((LINES, [line | score for line in LINES], [line | told for line in LINES])):
        paper_figures.tradeoff(lines, tmp_path / str(number), toy=False)
    columns = [list(table(tmp_path / str(number))[0])[5] for number in range(3)]
    assert columns == ["voice", "persona_consistency", "recovery"]
    paper_figures.tradeoff([line | {"voice": None} for line in LINES], tmp_path / "none", toy=False)
    assert not (tmp_path / "none.png").exists()


def test_twelve_models_look_different_and_a_variant_looks_as_it_does_elsewhere() -> None:
    models = [f"org/model-{number}" for number in range(12)]
    shown = figures.looks([*NAMES, *models])
    assert (len(set(shown.values())), shown["rlvr"]) == (15, figures.looks(["rlvr"])["rlvr"])
