"""The back ends that run here; a test that asks for `back_end` runs in each."""

import pytest

from permix.sandbox import prove
from permix.sandbox.backend import SAFE, BackEnd
from permix.sandbox.session import SandboxError


@pytest.fixture(params=SAFE, scope="session")
def back_end(request: pytest.FixtureRequest) -> BackEnd:
    """A back end that has proved its protections on this machine."""
    name: BackEnd = request.param
    try:
        through = [attack for attack, stopped in prove(name).items() if not stopped]
    except SandboxError as error:
        pytest.skip(f"{name}: {error}")
    assert through == []
    return name
