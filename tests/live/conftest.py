"""Fixtures for the tests of the TypeScript client and its example."""

import os
import shutil
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from playwright.sync_api import Browser, sync_playwright

from tests.fake_stripe import FakeStripe, serving
from tests.service import CHROMIUM, CHROMIUM_ARGUMENTS, ROOT, Demo, run_program

TYPESCRIPT = ROOT / "clients" / "typescript"
NPM = shutil.which("npm")


@pytest.fixture(scope="session")
def typescript(tmp_path_factory: Any) -> Path:
    """A copy of the client with its packages, so that the working tree does not change."""
    if NPM is None and not os.environ.get("CI"):
        pytest.skip("npm is not installed: apt-get install npm")
    copy: Path = tmp_path_factory.mktemp("client") / "clients" / "typescript"
    shutil.copytree(TYPESCRIPT, copy, ignore=shutil.ignore_patterns("node_modules", "dist"))
    shutil.copytree(ROOT / "docs" / "openapi", copy.parent.parent / "docs" / "openapi")
    run_program(copy, "npm", "ci", "--silent")
    return copy


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="session")
def frontend(typescript: Path) -> Iterator[str]:
    """Build and serve the example, and return its origin."""
    run_program(typescript, "npm", "run", "--silent", "example")
    handler = partial(QuietHandler, directory=typescript / "example")
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="session")
def stripe_of_pages() -> Iterator[FakeStripe]:
    with serving() as fake:
        yield fake


@pytest.fixture(scope="session")
def page_server(
    tmp_path_factory: Any, frontend: str, stripe_of_pages: FakeStripe
) -> Iterator[Demo]:
    """A service that allows the origin `frontend` and verifies keys."""
    started = Demo(
        tmp_path_factory.mktemp("pages"),
        CORS_ALLOWED_ORIGINS=frontend,
        PORTAL_ACCESS_CODE="",
        STRIPE_API_BASE=stripe_of_pages.url,
        STRIPE_VERIFY="true",
        THROTTLE_STRIPE="",
    )
    yield started
    started.stop()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None and not os.environ.get("CI"):
        pytest.skip("chromium is not installed: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_ARGUMENTS)
        yield browser
        browser.close()
