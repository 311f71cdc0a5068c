"""Commands find the Hub of the tests."""

import pytest

from permix.publishing import hub as hubs
from permix.publishing.hub import Hub


@pytest.fixture
def hub(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> Hub:
    """The test's Hub, and the one that `permix.publishing.hub.connect` gives to commands of this process."""
    monkeypatch.setattr(hubs, "connect", lambda url: hub)
    return hub
