"""The tiny base and its mixture, made once for all trainings."""

from pathlib import Path

import pytest

from tests.support.trainings import make_inputs


@pytest.fixture(scope="session")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return make_inputs(tmp_path_factory.mktemp("training"))
