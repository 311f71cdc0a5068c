"""A small sweep: its Config, and parts to run it with."""

import json
import tempfile
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

from permix import benchmarks
from permix.experiment.models import Model
from permix.sampling import engines
from permix.sampling.sampler import Engine, Sampler
from permix.stage import StageContext
from permix.stages import sweep
from tests.support.faulty_server import FaultyServer
from tests.support.quiz import QUIZ

POOL = [("sage", "You are a sage."), ("fool", "You are a fool.")]


CONFIG = sweep.Config(
    variant="base", base="org/tiny", base_slug="tiny", personas="datasets/me/people",
    benchmarks=(QUIZ, benchmarks.builtin("arithmetic")), runs=2, limit=3, max_tokens=4, draws=50,
)  # fmt: skip


def parts_of(work: Path, opened: Callable[[Engine], Sampler]) -> StageContext:
    work.mkdir(parents=True, exist_ok=True)
    return StageContext(work, {}, {"adapter": "digest"}, lambda *_: None, 1, opened)  # type: ignore[arg-type]


SERVED = Model(name="mine", model="vendor/good-model", url="http://127.0.0.1:9/v1", price_in=1.0, price_out=2.0)


def people(folder: Path) -> Path:
    """A folder with the personas of POOL."""
    folder.mkdir(parents=True)
    rows = [{"key": key, "category": "c", "system_prompt": text} for key, text in POOL]
    (folder / "eval.json").write_text(json.dumps(rows))
    return folder


def served(server: FaultyServer, **settings: Any) -> sweep.Config:
    """A sweep of the quiz with the model behind a server."""
    model = replace(SERVED, model="good-model", url=server.url)
    return replace(CONFIG, **{"benchmarks": (QUIZ,), "base": "good-model", "dtype": "", "model": model} | settings)


def run_served(config: sweep.Config, inputs: Mapping[str, Path], out: Path) -> dict[str, Any]:
    """Run the sweep of a served model; return its facts."""
    assert config.model
    sampling = engines.open_engine(config.model.endpoint())
    with closing(sampling), tempfile.TemporaryDirectory() as work:
        return dict(sweep.run(config, inputs, out, context=parts_of(Path(work), lambda _: sampling)))
