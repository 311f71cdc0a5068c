"""What tests of stages that ask judges share: scripted judges over real HTTP, and parts that reach them."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from permix.experiment.models import Model
from permix.sampling import engines
from permix.sampling.engines.endpoint import pace
from permix.sampling.sampler import Endpoint, Engine, Sampler
from permix.stage import Parts
from tests.support.faulty_server import FaultyServer, Script

NAMES = ("one", "two", "three")
"""How a recipe's [model.*] calls the judges, in their order."""


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A file that imports it waits for no server, and has a home of its own."""
    monkeypatch.setattr(pace, "BACKOFF", 0.001)
    monkeypatch.setenv("PERMIX_HOME", str(tmp_path / "home"))


@contextmanager
def parts_in(work: Path) -> Iterator[Parts]:
    """Parts with real samplers, closed at the end."""
    with ExitStack() as opened:

        def open_engine(engine: Engine | Endpoint) -> Sampler:
            found = engines.open_engine(engine)
            opened.callback(found.close)
            return found

        yield Parts(work, {}, {}, lambda *_: None, 1, open_engine)


@contextmanager
def judges(*scripts: Script) -> Iterator[tuple[list[FaultyServer], tuple[Model, ...]]]:
    """A server for each script, and the priced models behind them."""
    with ExitStack() as opened:
        servers = [opened.enter_context(FaultyServer(script)) for script in scripts]
        yield (
            servers,
            tuple(
                Model(name=name, model=f"gpt-{name}", url=server.url, price_in=1.0, price_out=1.0, concurrency=2)
                for name, server in zip(NAMES, servers, strict=False)
            ),
        )
