"""The Hub and a browser for each test file: playwright keeps an event loop running."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from embedded_hub import launch
from tests.support.spaces import need_browser

if TYPE_CHECKING:
    from playwright.sync_api import Browser


@pytest.fixture(scope="module")
def running(smoke: Path) -> launch.Running:
    """The Hub on which recipe smoke has run."""
    return launch.attach(smoke / "hub")


@pytest.fixture(scope="module")
def browser() -> Iterator["Browser"]:
    chromium = need_browser()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield browser
        browser.close()
