"""`permix compare` and `permix selectors` on imported sweeps of an embedded Hub."""

import re
from pathlib import Path

import pytest

from permix.commands import compare, import_logs, selectors
from permix.errors import BadInput
from permix.publishing import hub as hubs
from tests.support.command_line import permix_here
from tests.support.foreign_logs import lm_eval
from tests.support.hubs import embedded

PEOPLE = {"none": None, "poet": "poet", "cook": "cook"}


@pytest.fixture
def sweeps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Two sweeps of 20 problems; the second is right where the first is wrong under poet."""
    hub = embedded(tmp_path / "cache")
    monkeypatch.setattr(hubs, "connect", lambda url: hub)
    named = []
    for name, poet in (("weak", 0), ("strong", 1)):
        scores = {"none": [1, 1, 0, 0] * 5, "poet": [poet] * 20, "cook": [1] * 19 + [0]}
        logs = [f"{key}={lm_eval(tmp_path / name / key, PEOPLE[key], right)}" for key, right in scores.items()]
        import_logs.import_logs("lm-eval", persona=logs, publish=f"compare-tests/{name}")
        named.append(f"datasets/compare-tests/{name}")
    capsys.readouterr()
    return named


def test_second_less_first_with_corrected_intervals(sweeps: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    compare.compare(sweeps, draws=200)
    output = capsys.readouterr().out.splitlines()
    assert (output[0], output[2]) == (f"sums: less {sweeps[0]}", sweeps[1])
    assert output[9].startswith("-: not defined")
    rows = {line.split()[0]: line.split()[1:] for line in output[3:9]}
    assert (list(rows), rows["worst"][0]) == (["pss", "worst", "best", "mean", "pss_corrected", "none"], "+0.950")
    assert 0.8 < float(rows["worst"][1]) < 0.95
    assert rows["mean"][0] == "+0.500"
    assert rows["none"] == ["+0.000", "-", "1.000", "1.000"], "all resamples are alike: no interval"
    assert float(rows["worst"][4]) < float(rows["worst"][5]) < 0.1  # six comparisons


def test_selectors_are_printed_for_every_benchmark(sweeps: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    selectors.selectors(sweeps[0])
    output = capsys.readouterr().out
    assert output.startswith("sums\nselector")
    assert re.search(r"\nrandom +0\.475 ", output)
    table, legend = output.split("\n\n")
    assert re.match(r"best of 2 personas +0\.950 ", table.splitlines()[-1])
    assert all(f"{name}: " in legend for name in ("random", "chosen", "majority", "best of k"))


def test_sweeps_that_cannot_be_compared_are_refused(sweeps: list[str], tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="name at least two"):
        compare.compare(sweeps[:1])
    with pytest.raises(BadInput, match="compare-tests/weak holds the same answers as itself: name sweeps that differ"):
        compare.compare([*sweeps, sweeps[0]])
    few = [f"{key}={lm_eval(tmp_path / 'few' / key, text, [1, 0])}" for key, text in PEOPLE.items()]
    import_logs.import_logs("lm-eval", persona=few, publish="compare-tests/few")
    with pytest.raises(BadInput, match="Only one of the two sweeps has run 0 of sums/10 under 'cook'"):
        compare.compare([sweeps[0], "datasets/compare-tests/few"])


def test_a_sweep_of_another_name_is_answered_with_the_nearest(sweeps: list[str], smoke: Path) -> None:
    sentence = r"no repository compare-tests/waek .* did you mean datasets/compare-tests/weak\?"
    with pytest.raises(BadInput, match=sentence):
        compare.compare(["compare-tests/waek", sweeps[1]])
    short = permix_here(smoke, "compare", "base", "permix-rlvr", check=False)
    assert "-sweep-permix-toy-base?" in short.stderr, "of any owner: other tests publish copies on this Hub"
    adapter = permix_here(smoke, "selectors", "permix-smoke/permix-toy-rlvr", check=False)
    text = "was made by stage grpo; it is not a sweep: did you mean datasets/permix-smoke/permix-sweep-permix-toy-rlvr?"
    assert text in adapter.stderr
    tables = permix_here(smoke, "selectors", "datasets/permix-smoke/permix-tables", check=False)
    assert "was made by stage tables; it is not a sweep: give a sweep." in tables.stderr
    assert (short.returncode, adapter.returncode) == (2, 2)
