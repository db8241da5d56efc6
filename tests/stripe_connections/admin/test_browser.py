"""The admin in a real browser, on a real server."""

import os
import re
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, Page, expect, sync_playwright

from tests.accessibility import violations
from tests.conftest import random_api_key
from tests.service import CHROMIUM, CHROMIUM_ARGUMENTS, PATIENCE_MS, Demo

MAKE_SUPPORT = """
from django.contrib.auth.models import Permission, User
user = User.objects.create_user("demo-support", password="{password}", is_staff=True)
user.user_permissions.set(Permission.objects.filter(codename="view_stripeconnection"))
"""

pytestmark = [
    pytest.mark.skipif(
        CHROMIUM is None and not os.environ.get("CI"),
        reason="chromium is not installed: apt-get install chromium",
    ),
]


@pytest.fixture(scope="module")
def site(strict_server: Demo) -> Demo:
    """The server, with a user who may only view connections."""
    password = strict_server.passwords["demo-support"] = uuid.uuid4().hex
    strict_server.manage("shell", "-v0", "-c", MAKE_SUPPORT.format(password=password))
    return strict_server


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def complaints() -> list[str]:
    """The messages on the browser's console, for example about a blocked script."""
    return []


@pytest.fixture
def open_page(site: Demo, browser: Any, complaints: list[str]) -> Iterator[Any]:
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


@pytest.fixture(scope="module")
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


LIST = "/admin/stripe_connections/stripeconnection/"
# The forms of the two connections in the documentation.
FORM, OTHER_FORM = f"{LIST}1/change/", f"{LIST}2/change/"


def find(page: Page, text: str) -> None:
    page.goto(LIST)
    page.get_by_role("textbox").first.fill(text)
    page.get_by_role("button", name="Search").click()
    page.get_by_role("link", name=text, exact=True).click()


def save(page: Page) -> None:
    page.get_by_role("button", name="Save and continue editing").click()


def blocked_by_the_policy(complaints: list[str]) -> list[str]:
    return [text for text in complaints if re.search("Content.Security.Policy|Error:", text)]


def test_staff_find_change_replace_and_see_it_in_history(open_as, complaints):
    secret = random_api_key("sk_test_")
    page = open_as("demo-staff")

    find(page, "sc_abc123")
    page.get_by_label("Name:").fill("Renamed by staff")
    page.get_by_label("New API key").fill(secret)
    save(page)

    expect(page.get_by_text("was changed successfully")).to_be_visible()
    expect(page.get_by_text(f"sk_test_…{secret[-4:]}")).to_be_visible()
    assert secret not in page.content()
    page.get_by_role("link", name="History").click()
    row = page.get_by_role("row").nth(1)
    expect(row).to_contain_text("demo-staff")
    expect(row).to_contain_text("Renamed by staff")
    expect(row).to_contain_text(f"replaced sk_test_…{secret[-4:]}")
    assert blocked_by_the_policy(complaints) == []


def test_wrong_kind_of_key_is_explained_and_not_shown_again(open_as):
    page = open_as("demo-staff")

    page.goto(FORM)
    page.get_by_label("New API key").fill("pk_" + "live_1234")
    save(page)

    expect(page.get_by_text("This is a publishable key")).to_be_visible()
    expect(page.get_by_label("New API key")).to_have_value("")


def test_live_key_replaces_a_test_key_after_confirmation(open_as, complaints):
    secret = random_api_key()
    page = open_as("demo-staff")
    box = page.get_by_label("Live and test are swapped on purpose")
    page.goto(OTHER_FORM)
    expect(page.get_by_label("New API key")).to_be_visible()
    expect(box).to_have_count(0)

    page.get_by_label("New API key").fill(secret)
    save(page)

    expect(
        page.get_by_text("The stored key is a test key and this one a live key.")
    ).to_be_visible()
    expect(page.get_by_label("New API key")).to_have_value("")
    expect(box).not_to_be_checked()
    box.check()
    page.get_by_label("New API key").fill(secret)
    save(page)

    expect(page.get_by_text("was changed successfully")).to_be_visible()
    expect(page.get_by_text(f"sk_live_…{secret[-4:]}")).to_be_visible()
    expect(page.locator(".field-stored_outcome")).to_contain_text("verified")
    expect(box).to_have_count(0)
    assert blocked_by_the_policy(complaints) == []


def test_conflict_keeps_what_was_typed_and_what_was_saved(open_as, complaints):
    mine, other = open_as("demo-staff"), open_as("demo-staff")
    mine.goto(OTHER_FORM)
    other.goto(OTHER_FORM)
    other.get_by_label("Name:").fill("By the other user")
    save(other)
    expect(other.get_by_text("was changed successfully")).to_be_visible()

    mine.get_by_label("Description:").fill("Typed by me")
    save(mine)

    expect(mine.get_by_text("Somebody else changed this connection")).to_be_visible()
    expect(mine.get_by_role("row").nth(1)).to_contain_text("By the other user")
    expect(mine.get_by_label("Description:")).to_have_value("Typed by me")
    expect(mine.get_by_label("Name:")).to_have_value("By the other user")
    save(mine)
    expect(mine.get_by_text("was changed successfully")).to_be_visible()
    expect(mine.get_by_label("Description:")).to_have_value("Typed by me")
    expect(mine.get_by_label("Name:")).to_have_value("By the other user")
    assert blocked_by_the_policy(complaints) == []


def test_leaked_key_is_not_in_the_url(open_as):
    page = open_as("demo-staff")
    secret = random_api_key()

    page.goto(LIST)
    page.get_by_role("link", name="Find by key").click()
    page.get_by_label("Key or signing secret").fill(secret)
    page.get_by_role("button", name="Find").click()

    expect(page.get_by_text("No connection has this secret.")).to_be_visible()
    assert secret not in page.url + page.content()


def test_first_error_has_the_focus(open_as):
    page = open_as("demo-staff")
    page.goto(FORM)
    page.get_by_label("Partner endpoint").fill("http://partner.example.com")
    page.get_by_label("Stripe account ID").fill("nonsense")

    save(page)

    expect(page.get_by_label("Stripe account ID")).to_be_focused()


def test_first_error_of_a_new_connection_has_the_focus(open_as):
    page = open_as("demo-staff")
    page.goto(f"{LIST}add/")
    page.get_by_label("Name:").fill("New")
    page.get_by_label("Partner endpoint").fill("http://partner.example.com")

    save(page)

    expect(page.get_by_label("Partner endpoint")).to_be_focused()


@pytest.fixture
def phone(open_as):
    """A page with the width of a phone."""
    page = open_as("demo-staff")
    page.set_viewport_size({"width": 390, "height": 800})
    return page


def test_phone_shows_name_status_mode_and_problem(phone):
    phone.goto(f"{LIST}?q=sc_abc123")

    for column in ("connection_name", "state", "mode", "outcome"):
        box = phone.locator(f"#result_list tbody .field-{column}").first.bounding_box()
        assert box["x"] + box["width"] <= 390


def test_longest_name_fits_on_a_phone(phone):
    phone.goto(FORM)
    phone.get_by_label("Name:").fill("W" * 128)
    save(phone)

    expect(phone.get_by_text("was changed successfully")).to_be_visible()
    assert fits(phone)
    phone.goto(FORM)
    assert fits(phone)
    phone.get_by_role("link", name="History").click()
    expect(phone.locator(".audit tbody tr").first).to_be_visible()
    assert fits(phone)
    results = phone.locator(".results")
    assert results.evaluate("e => e.scrollWidth <= e.clientWidth")


def fits(page):
    return page.evaluate(
        "document.documentElement.scrollWidth <= document.documentElement.clientWidth"
    )


OURS = [
    "/admin/", LIST, f"{LIST}?q=nothing", f"{LIST}add/", f"{LIST}find-by-key/",
    "/admin/stripe_connections/auditrecord/", "/admin/workspaces/tenant/",
    "/admin/workspaces/tenant/add/", "/admin/workspaces/tenant/1/change/",
    "/admin/workspaces/workspace/",
    "/admin/workspaces/workspace/add/", "/admin/workspaces/workspace/1/change/",
]  # fmt: skip


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pages_are_accessible(open_as, scheme):
    page = open_as("demo-staff")
    page.emulate_media(color_scheme=scheme)

    found = {path: violations(opened(page, path), scheme) for path in OURS}

    assert {path: problems for path, problems in found.items() if problems} == {}


def opened(page, path):
    page.goto(path)
    return page


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_form_is_accessible(open_as, scheme):
    page = open_as("demo-staff")
    page.emulate_media(color_scheme=scheme)
    page.goto(FORM)
    form = violations(page, scheme)
    page.get_by_role("link", name="History").click()
    page.locator(".audit").or_(page.get_by_text("has been recorded")).wait_for()
    history = violations(page, scheme)
    page.go_back()
    page.get_by_label("Partner endpoint").fill("http://partner.example.com")
    page.get_by_label("New API key").fill(random_api_key("sk_test_"))
    save(page)
    expect(page.get_by_text("Please correct the errors below.")).to_be_visible()
    error = violations(page, scheme)

    assert (form, history, error) == ([], [], [])


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_conflict_and_confirmation_are_accessible(open_as, scheme):
    page = open_as("demo-staff")
    page.emulate_media(color_scheme=scheme)
    page.goto(OTHER_FORM)
    other = page.context.new_page()
    other.goto(page.url)
    other.get_by_label("Name:").fill(f"Saved first, {scheme}")
    save(other)
    expect(other.get_by_text("was changed successfully")).to_be_visible()
    page.get_by_label("Description:").fill(f"Typed by me, {scheme}")
    save(page)
    expect(page.get_by_text("Somebody else changed this connection")).to_be_visible()
    conflict = violations(page, scheme)
    other.get_by_role("button", name="Deactivate").click()
    expect(other.get_by_text("This will deactivate 1 connection:")).to_be_visible()

    assert (conflict, violations(other, scheme)) == ([], [])


def test_login_is_accessible(site, browser):
    page = browser.new_page(base_url=site.url)
    page.goto("/admin/")

    assert violations(page, "light") == []
    page.close()


def test_leaving_a_changed_form_needs_confirmation(open_as):
    page = open_as("demo-staff")
    asked = []
    page.on("dialog", lambda dialog: (asked.append(dialog.type), dialog.accept()))
    page.goto(FORM)

    page.get_by_role("link", name="History").click()
    page.go_back()
    page.get_by_label("Description:").click()
    page.keyboard.type("Not saved")
    assert asked == []
    page.get_by_role("link", name="History").click()

    expect(page.get_by_role("heading", name="History of")).to_be_visible()
    assert asked == ["beforeunload"]


def test_saving_a_changed_form_needs_no_confirmation(open_as):
    page = open_as("demo-staff")
    asked = []
    page.on("dialog", lambda dialog: (asked.append(dialog.type), dialog.accept()))
    page.goto(FORM)

    page.get_by_label("Description:").click()
    page.keyboard.type("Saved")
    save(page)

    expect(page.get_by_text("was changed successfully")).to_be_visible()
    assert asked == []


def test_button_copies_the_id(open_as):
    page = open_as("demo-staff")
    # The browser has a clipboard only with https or on localhost.
    page.add_init_script(
        "Object.defineProperty(navigator, 'clipboard',"
        " {value: {writeText: async (text) => { window.copied = text; }}})"
    )
    page.goto(FORM)

    page.get_by_role("button", name="Copy", exact=True).first.click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    assert page.evaluate("window.copied") == "sc_abc123"


def test_key_is_verified_from_the_form(open_as):
    page = open_as("demo-staff")
    page.goto(FORM)

    page.get_by_role("button", name="Verify with Stripe").click()

    expect(page.get_by_text(re.compile("1 verified"))).to_be_visible()
    expect(page.get_by_label("New API key")).to_be_visible()


def test_policy_blocks_an_inline_script(open_as, complaints):
    page = open_as("demo-staff")
    page.goto("/admin/")

    page.evaluate(
        "document.body.append(Object.assign(document.createElement('script'),"
        " {textContent: 'window.ran = true'}))"
    )

    assert page.evaluate("window.ran") is None
    assert len(blocked_by_the_policy(complaints)) == 1


def test_user_who_may_only_view_cannot_change_anything(open_as, site):
    page = open_as("demo-support")

    find(page, "sc_abc123")

    expect(page.get_by_role("button", name=re.compile("Save"))).to_have_count(0)
    expect(page.locator("input[type=password]")).to_have_count(0)
    expect(page.get_by_role("link", name="Add connection")).to_have_count(0)
    cookies = {cookie["name"]: cookie["value"] for cookie in page.context.cookies()}
    answer = page.request.post(
        page.url,
        form={"connection_name": "Mine", "csrfmiddlewaretoken": cookies["csrftoken"]},
        headers={"Origin": site.url},
    )
    assert answer.status == 403
    assert "CSRF" not in answer.text()
    page.goto(f"{LIST}add/")
    expect(page.get_by_role("heading", name="No permission")).to_be_visible()


def type_half(page):
    """Open the form and type a name and a key without saving."""
    page.goto(FORM)
    page.get_by_label("Name:").fill("Typed before the session ended")
    page.get_by_label("New API key").fill(random_api_key("sk_test_"))
    return page


@pytest.fixture
def half_typed(log_in):
    """A form with an unsaved name and key, in a session that the test may end."""
    return type_half(log_in("demo-staff"))


def expect_what_was_typed_but_the_key(page):
    expect(page.get_by_text("What you typed before is here again")).to_be_visible()
    expect(page.get_by_label("Name:")).to_have_value("Typed before the session ended")
    expect(page.get_by_label("New API key")).to_have_value("")


def test_what_was_typed_survives_a_session_that_ended(open_as, site, complaints):
    page = type_half(open_as("demo-staff"))
    page.context.clear_cookies(name="sessionid")
    save(page)
    expect(page.get_by_text("Your session has ended")).to_be_visible()

    fill_in_login(page, site, "demo-staff")

    expect_what_was_typed_but_the_key(page)
    assert "sk_test_" not in page.evaluate("JSON.stringify(sessionStorage)")
    save(page)
    expect(page.get_by_text("was changed successfully")).to_be_visible()
    expect(page.get_by_text("is here again")).to_have_count(0)
    assert blocked_by_the_policy(complaints) == []


def test_what_was_typed_survives_a_login_in_another_tab(half_typed, site):
    other = half_typed.context.new_page()
    other.goto("/admin/")
    other.get_by_role("button", name="Log out").click()
    other.goto("/admin/")
    fill_in_login(other, site, "demo-staff")
    other.get_by_role("button", name="Log out").wait_for()

    save(half_typed)
    expect(half_typed.get_by_role("heading", name="Nothing was saved")).to_be_visible()
    half_typed.get_by_role("link", name="Open the form again").click()

    expect_what_was_typed_but_the_key(half_typed)


def test_saved_form_is_not_offered_again(half_typed):
    half_typed.get_by_role("button", name="Save", exact=True).click()
    expect(half_typed.get_by_text("was changed successfully")).to_be_visible()

    half_typed.get_by_role("button", name="Log out").click()
    half_typed.goto("/admin/")

    expect(half_typed.get_by_label("Username")).to_be_visible()
    expect(half_typed.get_by_text("session has ended")).to_have_count(0)
