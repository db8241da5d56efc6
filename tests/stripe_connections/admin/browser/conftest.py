"""Windows of a real browser that show the admin of a real server."""

import re
import sqlite3
import uuid
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from django.contrib.auth.hashers import PBKDF2PasswordHasher
from playwright.sync_api import BrowserContext, Page

from tests.browser import PATIENCE_MS
from tests.service import PATIENCE_SECONDS, Demo

LIST = "/admin/stripe_connections/stripeconnection/"
# The forms of the two connections in the documentation.
FORM, OTHER_FORM = f"{LIST}1/change/", f"{LIST}2/change/"
ADD_SUPPORT = """
INSERT INTO auth_user (username, password, is_staff, is_superuser, is_active, first_name,
    last_name, email, date_joined)
VALUES ('demo-support', ?, true, false, true, '', '', '', CURRENT_TIMESTAMP)
"""
GIVE_PERMISSION = """
INSERT INTO auth_user_user_permissions (user_id, permission_id)
SELECT auth_user.id, auth_permission.id FROM auth_user, auth_permission
WHERE username = 'demo-support' AND codename = 'view_stripeconnection'
"""


@pytest.fixture(scope="session")
def site(strict_server: Demo) -> Demo:
    """The server, with a user who may only view connections."""
    password = strict_server.passwords["demo-support"] = uuid.uuid4().hex
    # A command of the service would take seconds.
    path = strict_server.log.with_name("db.sqlite3")
    with closing(sqlite3.connect(path, timeout=PATIENCE_SECONDS)) as database:
        database.execute(ADD_SUPPORT, [PBKDF2PasswordHasher().encode(password, "salt", 1)])
        database.execute(GIVE_PERMISSION)
        database.commit()
    return strict_server


@pytest.fixture
def complaints() -> list[str]:
    """The messages on the browser's console, for example about a blocked script."""
    return []


@pytest.fixture
def open_page(browser: Any, site: Demo, complaints: list[str]) -> Iterator[Any]:
    """Return a function that opens an empty page, in a new browser window unless one is given."""
    pages: list[Page] = []

    def make(context: BrowserContext | None = None) -> Page:
        if context is None:
            context = browser.new_context(base_url=site.url)
            context.set_default_timeout(PATIENCE_MS)
        pages.append(context.new_page())
        pages[-1].on("console", lambda message: complaints.append(message.text))
        pages[-1].on("pageerror", lambda error: complaints.append(error.message))
        return pages[-1]

    yield make
    for context in {page.context for page in pages}:
        for page in context.pages:
            page.close()


@pytest.fixture
def log_in(site: Demo, open_page: Any) -> Any:
    """Return a function that logs a user in and returns the page."""

    def typed(username: str) -> Page:
        page: Page = open_page()
        page.goto("/admin/")
        fill_in_login(page, site, username)
        # The click does not wait until the next page has loaded.
        page.get_by_role("button", name="Log out").wait_for()
        return page

    return typed


@pytest.fixture(scope="session")
def windows() -> dict[str, BrowserContext]:
    """A window for each user who has logged in. To load all files again takes seconds."""
    return {}


@pytest.fixture
def open_as(log_in: Any, open_page: Any, windows: dict[str, BrowserContext]) -> Any:
    """Return a function that opens a page with the user's existing session."""

    def opened(username: str) -> Page:
        if username not in windows:
            windows[username] = log_in(username).context
        page: Page = open_page(windows[username])
        return page

    return opened


def fill_in_login(page: Page, site: Demo, username: str) -> None:
    page.get_by_label("Username").fill(username)
    page.get_by_label("Password").fill(site.passwords[username])
    page.get_by_role("button", name="Log in").click()


def save(page: Page) -> None:
    page.get_by_role("button", name="Save and continue editing").click()


def blocked_by_the_policy(complaints: list[str]) -> list[str]:
    return [text for text in complaints if re.search("Content.Security.Policy|Error:", text)]
