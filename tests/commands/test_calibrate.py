"""`permix calibrate` on the toy world: real sweeps of two settings, and the one nearer to the goal is named."""

from pathlib import Path

from tests.support.command_line import permix_here, refused

GRID = """
[calibrate.goal]
base = { arithmetic = [0.0, 1.0] }
[[calibrate.grid]]
variant = "base"
sweep.max_tokens = [1, 8]
"""


def test_points_are_measured_once_and_the_nearest_is_named(smoke: Path, tmp_path: Path) -> None:
    own = tmp_path / "own.toml"
    recipe = Path(__file__).parents[2] / "pipelines" / "recipes" / "smoke.toml"
    own.write_text(recipe.read_text().replace('"arithmetic", "arithmetic-long"', '"arithmetic"') + GRID)
    changes = [word for change in ("tag=cal", "sweep.limit=1", "sweep.runs=1") for word in ("--set", change)]
    command = ["calibrate", "--recipe", str(own), "--workers", "1", *changes]
    done = permix_here(smoke, *command)
    lines = done.stdout.splitlines()
    assert lines[0] == "base: worst - best (PSS)"
    assert lines[2].endswith("as printed")
    distances = [float(line.split("sweep.max_tokens")[0].split()[-1]) for line in lines[3:5]]
    best = [1, 8][distances.index(min(distances))]
    assert lines[-1] == f"Nearest to the printed rows: sweep.max_tokens = {best}"
    assert "permix-sweep-permix-toy-base-cal-max_tokens8" in done.stderr
    again = permix_here(smoke, *command)
    assert again.stdout == done.stdout
    assert "making " not in again.stderr


def test_a_recipe_without_a_grid_is_refused(tmp_path: Path) -> None:
    assert "The recipe smoke has no table [calibrate]" in refused(tmp_path, "calibrate", "--recipe", "smoke")
