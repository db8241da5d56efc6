"""The React example of the TypeScript client in a real browser."""

import json
from contextlib import contextmanager
from urllib.parse import urlencode
from urllib.request import Request, urlopen

import pytest
from playwright.sync_api import expect

from tests.browser import PATIENCE_MS
from tests.conftest import random_api_key
from tests.fake_stripe import STORED
from tests.service import UPDATE

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("page_server")]


@pytest.fixture(scope="module")
def address(page_server, frontend):
    shown = {"service": page_server.url, "workspace": "ws_demo", "connection": "sc_abc123"}
    return f"{frontend}/?{urlencode(shown)}"


@contextmanager
def new_context(browser):
    context = browser.new_context()
    context.set_default_timeout(PATIENCE_MS)
    yield context
    context.close()


def log_in_to(context, address, page_server, username):
    page = context.new_page()
    page.goto(address)
    page.get_by_label("User name").fill(username)
    page.get_by_label("Password").fill(page_server.passwords[username])
    page.get_by_role("button", name="Log in").click()
    page.get_by_label("Name", exact=True).wait_for()
    return page


@pytest.fixture
def context(browser, page_server):
    with new_context(browser) as context:
        yield context


@pytest.fixture
def log_in(context, page_server, address):
    """Return a function that opens the example and logs a user in."""

    def run(username="demo-manager"):
        return log_in_to(context, address, page_server, username)

    return run


@pytest.fixture(scope="module")
def session(browser, page_server, address):
    """A logged-in window with one page for several tests, because a login takes seconds."""
    with new_context(browser) as context:
        log_in_to(context, address, page_server, "demo-manager")
        yield context


@pytest.fixture
def open_page(session, address):
    """Return a function that opens the form of the connection."""

    def run():
        [page] = session.pages
        page.goto(address)
        page.get_by_label("Name", exact=True).wait_for()
        return page

    return run


@pytest.fixture(scope="module")
def token(page_server):
    return page_server.token()


@pytest.fixture
def update(page_server, token):
    """Return a function that changes the connection with the API."""

    def run(**changes):
        body = json.dumps({"connectionBizId": "sc_abc123"} | changes).encode()
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        with urlopen(Request(page_server.url + UPDATE, body, headers), timeout=60) as answer:
            return json.load(answer)["data"]

    return run


def save(page):
    page.get_by_role("button", name="Save").click()


def test_form_is_loaded_edited_and_saved(open_page, update):
    before = update(connectionDescription="As it was")
    page = open_page()
    expect(page.get_by_label("Description")).to_have_value("As it was")

    page.get_by_label("Name", exact=True).fill("From the form")
    save(page)

    expect(page.get_by_role("status")).to_have_text("Saved.")
    expect(page.get_by_role("heading")).to_have_text("From the form")
    after = update()
    assert after["connectionName"] == "From the form"
    assert after["connectionDescription"] == before["connectionDescription"]


def test_emptied_field_is_cleared(open_page, update):
    update(partnerEndpoint="https://partner.example.com/webhook")
    page = open_page()

    page.get_by_label("Partner endpoint").fill("")
    save(page)

    expect(page.get_by_role("status")).to_have_text("Saved.")
    assert update()["partnerEndpoint"] is None


def test_error_is_shown_next_to_its_field(open_page, update):
    before = update()
    page = open_page()

    page.get_by_label("Partner endpoint").fill("http://partner.example.com")
    save(page)

    alert = page.get_by_role("paragraph").filter(has=page.get_by_label("Partner endpoint"))
    expect(alert.get_by_role("alert")).to_contain_text("https")
    assert update() == before


def test_conflict_keeps_the_input_and_overwrites_nothing(open_page, update):
    page = open_page()
    update(connectionName="By somebody else")

    page.get_by_label("Description").fill("Typed before")
    save(page)

    expect(page.get_by_role("status")).to_contain_text("Somebody else has changed")
    expect(page.get_by_role("heading")).to_have_text("By somebody else")
    expect(page.get_by_label("Description")).to_have_value("Typed before")
    assert update()["connectionDescription"] != "Typed before"
    save(page)
    expect(page.get_by_role("status")).to_have_text("Saved.")
    assert update()["connectionDescription"] == "Typed before"
    assert update()["connectionName"] == "By somebody else"


def test_key_is_replaced_and_not_shown(open_page, update, stripe_of_pages):
    update(stripeAccountId=STORED)
    stripe_of_pages.knows(STORED)
    key = random_api_key("sk_test_")
    page = open_page()

    page.get_by_label("New API key").fill(key)
    save(page)

    expect(page.get_by_role("status")).to_have_text("Saved.")
    expect(page.get_by_text(f"sk_test_…{key[-4:]}")).to_be_visible()
    expect(page.get_by_label("New API key")).to_have_value("")
    assert key not in page.content()
    assert stripe_of_pages.keys[-1] == key


def test_key_is_verified(open_page, update, stripe_of_pages):
    update(stripeAccountId=STORED)
    page = open_page()
    stripe_of_pages.rejects()

    page.get_by_role("button", name="Verify with Stripe").click()

    expect(page.get_by_role("status")).to_have_text("Verified.")
    expect(page.get_by_text(", rejected.")).to_be_visible()
    stripe_of_pages.knows(STORED)
    page.get_by_role("button", name="Verify with Stripe").click()
    expect(page.get_by_text(", verified.")).to_be_visible()


def test_connection_is_disconnected_and_connected(open_page, update):
    page = open_page()

    page.get_by_role("button", name="Disconnect").click()

    expect(page.get_by_role("status")).to_have_text("Disconnected.")
    assert update()["statusName"] == "INACTIVE"
    page.get_by_role("button", name="Connect", exact=True).click()
    expect(page.get_by_role("status")).to_have_text("Connected.")
    assert update()["statusName"] == "ACTIVE"


def test_viewer_sees_a_disabled_form(log_in):
    page = log_in("demo-viewer")

    expect(page.get_by_label("Name", exact=True)).to_be_disabled()
    expect(page.get_by_role("button", name="Save")).to_be_disabled()


EXPIRE = """() => {
  const tokens = JSON.parse(localStorage.getItem("stripe-connections"));
  localStorage.setItem("stripe-connections", JSON.stringify({...tokens, accessToken: "expired"}));
}"""


@pytest.mark.parametrize("locks", ["with locks", "without locks"])
def test_tabs_stay_logged_in_together(context, log_in, address, locks):
    """A refresh token can be used once, so a tab must not end the session of the others."""
    if locks == "without locks":
        context.add_init_script("Object.defineProperty(navigator, 'locks', {value: undefined})")
    first = log_in()
    refreshed = []
    context.on(
        "response",
        lambda response: refreshed.append(response) if "refresh" in response.url else None,
    )
    tabs = [first, context.new_page(), context.new_page()]
    for tab in tabs[1:]:
        tab.goto(address)
        tab.get_by_label("Name", exact=True).wait_for()
    first.evaluate(EXPIRE)

    for tab in tabs:
        tab.get_by_role("button", name="Verify with Stripe").click(no_wait_after=True)

    for tab in tabs:
        expect(tab.get_by_role("status")).to_have_text("Verified.")
    posts = [response.status for response in refreshed if response.request.method == "POST"]
    assert posts.count(200) == 1
    assert locks == "without locks" or posts == [200]


def test_page_shows_the_login_if_the_session_has_expired(log_in, address):
    page = log_in()
    expired = {"accessToken": "expired", "refreshToken": "expired"}
    page.evaluate("(t) => localStorage.setItem('stripe-connections', JSON.stringify(t))", expired)

    page.get_by_role("button", name="Verify with Stripe").click()

    expect(page.get_by_role("button", name="Log in")).to_be_visible()
    assert page.evaluate("localStorage.getItem('stripe-connections')") is None
