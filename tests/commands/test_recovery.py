"""`permix recovery` on imported sweeps of an embedded Hub."""

from pathlib import Path

import pytest

from permix.commands import import_logs, recovery, verify
from permix.errors import BadInput
from permix.publishing import hub as hubs
from tests.support.foreign_logs import lm_eval
from tests.support.hubs import embedded

SAID = {"poet": "Hear my verse: {}.", "cook": "In the pot: {}.", "pilot": "Captain speaking: {}."}
SWEEPS = {"base": SAID, "dull": dict.fromkeys(SAID, "It is {}."), "few": {k: SAID[k] for k in ("poet", "cook")}}


@pytest.fixture
def sweeps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
    """Sweeps of 12 problems: each persona in its own voice, all alike, and one with fewer personas."""
    hub = embedded(tmp_path / "cache")
    monkeypatch.setattr(hubs, "connect", lambda url: hub)
    for name, texts in SWEEPS.items():
        logs = [
            f"{key}={lm_eval(tmp_path / name / key, key, [1, 0] * 6, resps=[[text.format(7)]])}"
            for key, text in texts.items()
        ]
        import_logs.import_logs("lm-eval", persona=logs, publish=f"recovery-tests/{name}")
    capsys.readouterr()
    return {name: f"datasets/recovery-tests/{name}" for name in SWEEPS}


def test_every_sweep_has_an_interval_and_a_chance(sweeps: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    recovery.recovery([sweeps["base"], sweeps["dull"]], draws=50)
    name, head, base, all_right, dull, least = capsys.readouterr().out.splitlines()
    assert name == "sums"
    assert head.split()[:2] == ["recovery", "95"]
    assert base.split()[:5] == ["1.000", "1.000", "to", "1.000", "0.333"]
    assert sweeps["base"] in base
    assert dull.split()[:5] == ["0.333", "0.333", "to", "0.333", "0.333"]
    assert sweeps["dull"] in dull
    assert all_right.strip() == "least: cook 1.00, pilot 1.00, poet 1.00"
    assert "cook 0.33 (taken for pilot)" in least


def test_another_sweep_teaches_the_voices(sweeps: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    recovery.recovery([sweeps["base"]], trained_on=sweeps["dull"], draws=50)
    output = capsys.readouterr().out
    assert output.splitlines()[2].startswith("   0.333")
    assert output.endswith(f"learned from {sweeps['dull']}.\n")


def test_imported_sweeps_with_recovery_are_verified(sweeps: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    verify.verify(sweeps["base"])
    assert "0 scores and 0 of" in capsys.readouterr().out


def test_sweeps_of_other_personas_are_refused(sweeps: dict[str, str]) -> None:
    with pytest.raises(BadInput, match="Only one of the sweeps has the persona 'pilot'"):
        recovery.recovery([sweeps["base"]], trained_on=sweeps["few"])
