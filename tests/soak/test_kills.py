"""Twenty kills at random moments."""

import random
import time
from pathlib import Path

from tests.support.command_line import permix
from tests.support.kills import contents, kill_run_after

KILLS = 20


def test_twenty_kills_change_nothing(smoke: Path, tmp_path: Path) -> None:
    started = time.monotonic()
    permix(tmp_path / "timed", "run", "--recipe", "smoke")
    whole = time.monotonic() - started
    moments = random.Random(0)
    met, rounds, home = 0, 0, tmp_path / "killed-0"
    while met < KILLS:
        home.mkdir(exist_ok=True)
        # A run makes progress before most kills, so a home is finished after a few: then the next one is begun.
        hit = kill_run_after(home, moments.uniform(0.5, whole * 0.6))
        met += hit
        if not hit:
            assert contents(home) == contents(smoke)
            rounds += 1
            home = tmp_path / f"killed-{rounds}"
    permix(home, "run", "--recipe", "smoke")
    assert contents(home) == contents(smoke)
