"""The documentation page in a real browser: it makes calls, and only to its own host."""

import re
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.accessibility import violations
from tests.browser import PATIENCE_MS
from tests.service import Demo


@pytest.fixture
def console() -> list[str]:
    return []


@pytest.fixture
def requested() -> list[str]:
    """The URLs that the browser requests."""
    return []


@pytest.fixture
def page(
    demo_server: Demo, browser: Browser, console: list[str], requested: list[str]
) -> Iterator[Page]:
    page = browser.new_page(base_url=demo_server.url)
    page.set_default_timeout(PATIENCE_MS)
    page.on("console", lambda message: console.append(message.text))
    page.on("pageerror", lambda error: console.append(error.message))
    page.on("request", lambda request: requested.append(request.url))
    yield page
    page.close()


def authorize(page: Page, token: str, portal: str) -> None:
    """Enter a token and the portal code, which Nginx would add."""
    page.get_by_role("button", name="Authorize").click()
    page.get_by_label("auth-bearer-value").fill(token)
    page.locator("#api_key_value").fill(portal)
    page.get_by_role("button", name="Apply credentials").first.click()
    page.get_by_role("button", name="Apply credentials").click()
    page.get_by_role("button", name="Close").first.click()


def test_update_can_be_made_with_a_pasted_token(demo_server, page, console, requested):
    page.goto("/docs/")
    authorize(page, demo_server.token(), demo_server.portal["X-PORTAL-ACCESS-CODE"])
    call = page.locator("#operations-Connections-updateConnection")
    call.click()

    call.get_by_role("button", name="Execute").click()

    expect(call.locator(".live-responses-table .response-col_status").last).to_contain_text("200")
    expect(call.locator(".live-responses-table")).to_contain_text("Updated Stripe Connection")
    update = f"{demo_server.url}/web/v1/workspaces/ws_demo/stripe/connections/update"
    assert update in requested
    hosts = {urlsplit(url).netloc for url in requested if not url.startswith("data:")}
    assert hosts == {urlsplit(demo_server.url).netloc}
    assert [text for text in console if re.search("Content.Security.Policy|rror", text)] == []


def test_page_is_accessible(page):
    page.goto("/docs/")
    call = page.locator("#operations-Connections-updateConnection")
    call.wait_for()
    closed = violations(page)
    call.click()
    call.get_by_role("button", name="Execute").wait_for()

    assert (closed, violations(page)) == ({}, {})
