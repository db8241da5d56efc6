"""One Chromium for all tests of a pytest process: to start it takes a second."""

import os
import shutil
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from tests.service import PATIENCE_SECONDS

if TYPE_CHECKING:
    from playwright.sync_api import Browser

# Debian's browser without windows takes half the CPU time of the other one.
CHROMIUM = shutil.which("chromium-headless-shell") or shutil.which("chromium")
PATIENCE_MS = PATIENCE_SECONDS * 1000
ARGUMENTS = ["--no-sandbox", "--disable-gpu"]


@pytest.fixture(scope="session")
def browser() -> Iterator["Browser"]:
    if CHROMIUM is None and not os.environ.get("CI"):
        pytest.skip("chromium is not installed: apt-get install chromium-headless-shell")
    # Most processes run no test with a browser, and the import takes a while.
    from playwright.sync_api import expect, sync_playwright

    # The default is five seconds.
    expect.set_options(timeout=PATIENCE_MS)
    # Playwright's event loop belongs to this thread, so Django would refuse to query the database.
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=ARGUMENTS, timeout=PATIENCE_MS
        )
        yield browser
        browser.close()
