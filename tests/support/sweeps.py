"""A small sweep: its Config, and parts to run it with."""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from permix import benchmarks
from permix.experiment.models import Model
from permix.sampling import engines
from permix.sampling.sampler import Engine, Sampler
from permix.stage import StageContext
from permix.stages import sweep
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


@contextmanager
def opened(config: sweep.Config) -> Iterator[StageContext]:
    """StageContext with a sampler of the served model."""
    assert config.model
    sampling = engines.open_engine(config.model.endpoint())
    with closing(sampling), tempfile.TemporaryDirectory() as work:
        yield parts_of(Path(work), lambda _: sampling)
