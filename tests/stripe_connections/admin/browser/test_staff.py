"""Staff work with connections in a real browser, on a real server."""

import re

import pytest
from playwright.sync_api import expect

from tests.conftest import random_api_key
from tests.stripe_connections.admin.browser.conftest import (
    FORM,
    LIST,
    blocked_by_the_policy,
    fill_in_login,
    save,
)


@pytest.fixture
def asked():
    """The types of the dialogs that `accepting` accepted."""
    return []


@pytest.fixture
def accepting(open_as, asked):
    """A page of a staff user who accepts every dialog."""
    page = open_as("demo-staff")
    page.on("dialog", lambda dialog: (asked.append(dialog.type), dialog.accept()))
    return page


def find(page, text):
    page.goto(LIST)
    page.get_by_role("textbox").first.fill(text)
    page.get_by_role("button", name="Search").click()
    page.get_by_role("link", name=text, exact=True).click()


def test_staff_find_change_replace_and_see_it_in_history(accepting, asked, complaints):
    secret, page = random_api_key("sk_test_"), accepting

    find(page, "sc_abc123")
    page.get_by_label("Name:").select_text()
    page.keyboard.type("Renamed by staff")
    page.get_by_label("New API key").fill(secret)
    save(page)

    expect(page.get_by_text("was changed successfully")).to_be_visible()
    # A form that is saved does not ask whether to leave it.
    assert asked == []
    expect(page.get_by_text(f"sk_test_…{secret[-4:]}")).to_be_visible()
    assert secret not in page.content()
    page.get_by_role("link", name="History").click()
    row = page.get_by_role("row").nth(1)
    expect(row).to_contain_text("demo-staff")
    expect(row).to_contain_text("Renamed by staff")
    expect(row).to_contain_text(f"replaced sk_test_…{secret[-4:]}")
    assert blocked_by_the_policy(complaints) == []


def test_leaked_key_is_not_in_the_url(open_as):
    page = open_as("demo-staff")
    secret = random_api_key()

    page.goto(f"{LIST}?q=nothing")
    page.get_by_role("link", name="Find by key").click()
    page.get_by_label("Key or signing secret").fill(secret)
    page.get_by_role("button", name="Find").click()

    expect(page.get_by_text("No connection has this secret.")).to_be_visible()
    assert secret not in page.url + page.content()


def test_first_error_of_a_new_connection_has_the_focus(open_as):
    page = open_as("demo-staff")
    page.goto(f"{LIST}add/")
    page.get_by_label("Name:").fill("New")
    page.get_by_label("Partner endpoint").fill("http://partner.example.com")

    save(page)

    expect(page.get_by_label("Partner endpoint")).to_be_focused()


def test_leaving_a_changed_form_needs_confirmation(accepting, asked):
    page = accepting
    page.goto(FORM)

    page.get_by_role("link", name="History").click()
    page.go_back()
    page.get_by_label("Description:").click()
    page.keyboard.type("Not saved")
    assert asked == []
    page.get_by_role("link", name="History").click()

    expect(page.get_by_role("heading", name="History of")).to_be_visible()
    assert asked == ["beforeunload"]


def test_buttons_of_the_form_copy_the_id_and_verify_the_key(open_as):
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

    page.get_by_role("button", name="Verify with Stripe").click()
    expect(page.get_by_text("1 connection verified.")).to_be_visible()
    expect(page.get_by_label("New API key")).to_be_visible()

    page.goto(f"{LIST}add/")
    expect(page.get_by_label("API key")).to_be_visible()
    expect(page.get_by_role("button", name="Copy", exact=True)).to_have_count(0)


def test_policy_blocks_an_inline_script(open_as, complaints):
    page = open_as("demo-staff")
    page.goto(f"{LIST}find-by-key/")

    with page.expect_console_message(lambda message: blocked_by_the_policy([message.text])):
        page.evaluate(
            "document.body.append(Object.assign(document.createElement('script'),"
            " {textContent: 'window.ran = true'}))"
        )

    assert page.evaluate("window.ran") is None
    assert len(blocked_by_the_policy(complaints)) == 1


def test_user_who_may_only_view_cannot_change_anything(open_as, site):
    page = open_as("demo-support")

    page.goto(FORM)

    expect(page.get_by_role("heading", name="sc_abc123").first).to_be_visible()
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


def type_half(page, name):
    """Open the form and type a name and a key without saving."""
    page.goto(FORM)
    page.get_by_label("Name:").fill(name)
    page.get_by_label("New API key").fill(random_api_key("sk_test_"))
    return page


def expect_what_was_typed_but_the_key(page, name):
    expect(page.get_by_text("What you typed before is here again")).to_be_visible()
    expect(page.get_by_label("Name:")).to_have_value(name)
    expect(page.get_by_label("New API key")).to_have_value("")


def test_what_was_typed_survives_a_session_that_ended(open_as, site, complaints):
    page = type_half(open_as("demo-staff"), "Before the session ended")
    page.context.clear_cookies(name="sessionid")
    save(page)
    expect(page.get_by_text("Your session has ended")).to_be_visible()

    fill_in_login(page, site, "demo-staff")

    expect_what_was_typed_but_the_key(page, "Before the session ended")
    assert "sk_test_" not in page.evaluate("JSON.stringify(sessionStorage)")
    save(page)
    expect(page.get_by_text("was changed successfully")).to_be_visible()
    expect(page.get_by_text("is here again")).to_have_count(0)
    assert blocked_by_the_policy(complaints) == []


@pytest.fixture
def half_typed(log_in):
    """A form with an unsaved name and key, in a session that the test may end."""
    return type_half(log_in("demo-staff"), "Before the other login")


def test_what_was_typed_survives_a_login_in_another_tab_and_is_forgotten_when_saved(
    half_typed, site
):
    other = half_typed.context.new_page()
    other.goto(f"{LIST}find-by-key/")
    other.get_by_role("button", name="Log out").click()
    other.get_by_role("link", name="Log in again").click()
    fill_in_login(other, site, "demo-staff")
    other.get_by_role("button", name="Log out").wait_for()

    save(half_typed)
    expect(half_typed.get_by_role("heading", name="Nothing was saved")).to_be_visible()
    half_typed.get_by_role("link", name="Open the form again").click()

    expect_what_was_typed_but_the_key(half_typed, "Before the other login")
    save(half_typed)
    expect(half_typed.get_by_text("was changed successfully")).to_be_visible()
    half_typed.get_by_role("button", name="Log out").click()
    half_typed.get_by_role("link", name="Log in again").click()
    expect(half_typed.get_by_label("Username")).to_be_visible()
    expect(half_typed.get_by_text("session has ended")).to_have_count(0)
