"""One tiny model, its adapters and an open transformers engine for the tests of all engines."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from permix.sampling.engines import open_engine
from permix.sampling.sampler import Adapter, Engine, Sampler
from tests.support.models import make_adapter, make_tiny_model


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model: only to be read."""
    folder = tmp_path_factory.mktemp("tiny")
    make_tiny_model(folder)
    return folder


@pytest.fixture(scope="session")
def adapters(base: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Adapter]:
    folder = tmp_path_factory.mktemp("adapters")
    return [make_adapter(base, folder / f"a{i}", seed=i) for i in range(2)]


@pytest.fixture(scope="module")
def engine(base: Path) -> Iterator[Sampler]:
    opened = open_engine(Engine(base, batch_size=16))
    yield opened
    opened.close()
