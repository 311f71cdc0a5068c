"""A trainer page of ours against a bare TRL script: same model, rows, settings and seed; CPU time and peak memory.

CPU time, with that of the child processes (the verifier), because the other work of a machine hardly changes it.
"""

import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from permix.pipeline import recipes
from permix.stage import StageContext
from permix.stages import mixtures, personas
from tests.bench.row import SCRIPTS, Row
from tests.support.models import make_tiny_model

STEPS, ROUNDS, DROPPED = 12, 3, 2


def compare(stage: str, variant: str, settings: dict[str, float]) -> Iterator[Row]:
    """Alternate both, so that a slow moment of the machine hits both; drop the first steps."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        make_tiny_model(root / "base")
        _mixture(root, variant)
        times: dict[str, list[float]] = {"ours": [], "bare": []}
        memory: dict[str, list[float]] = {"ours": [], "bare": []}
        for turn in range(ROUNDS):
            for name, code in (("ours", SCRIPTS["our trainer"]), ("bare", SCRIPTS["bare trainer"])):
                paths = [str(root / "base"), str(root), str(root / f"{name}-{turn}")]
                program = [sys.executable, "-c", SCRIPTS["clock"] + code]
                command = [*program, stage, json.dumps(settings), *paths, str(STEPS)]
                done = subprocess.run(command, capture_output=True, text=True)
                if done.returncode:
                    raise RuntimeError(done.stderr)
                steps, peak = json.loads(done.stdout.splitlines()[-1])
                times[name] += steps[DROPPED:]
                memory[name].append(peak / 1024)
        ours, bare = (statistics.median(times[name]) for name in ("ours", "bare"))
        title = stage.upper()
        detail = f"CPU time: {ours:.3f} s / {bare:.3f} s a step, median"
        yield Row(f"{title} speed / bare TRL", bare / ours, 0.95, ">=", detail)
        here, there = (statistics.median(memory[name]) for name in ("ours", "bare"))
        yield Row(f"{title} peak memory / bare TRL", here / there, 1.05, detail=f"{here:.0f} MB / {there:.0f} MB")


def _mixture(root: Path, variant: str) -> None:
    """A mixture of the toy world as the stage writes it."""
    loaded = replace(recipes.load("toy"), variants=(variant,))
    parts = StageContext(root, {}, {}, lambda *_: None, 1, None)  # type: ignore[arg-type]
    (root / "personas").mkdir()
    personas.run(personas.configs(loaded)[0], {}, root / "personas", context=parts)
    mixtures.run(mixtures.configs(loaded)[0], {"personas": root / "personas"}, root, context=parts)
