"""Commands find the Hub of the tests."""

import pytest

from permix import hub as hubs
from permix.hub import Hub


@pytest.fixture
def hub(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> Hub:
    """The test's Hub, and the one that `permix.hub.connect` gives to commands of this process."""
    monkeypatch.setattr(hubs, "connect", lambda url: hub)
    return hub
