"""A run that is killed and started again ends with what an undisturbed run gives. `make soak` does it twenty times."""

from pathlib import Path

from tests.support.command_line import permix
from tests.support.kills import contents, run_killed


def test_two_kills_change_nothing(smoke: Path, tmp_path: Path) -> None:
    assert run_killed(tmp_path, (6.0, 14.0)) == 2
    permix(tmp_path, "run", "--recipe", "smoke")
    assert contents(tmp_path) == contents(smoke)
