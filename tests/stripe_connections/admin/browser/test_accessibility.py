"""The pages of the admin are accessible in both colour schemes, and usable on a phone."""

import pytest
from playwright.sync_api import expect

from tests.accessibility import violations
from tests.conftest import random_api_key
from tests.stripe_connections.admin.browser.conftest import (
    FORM,
    LIST,
    OTHER_FORM,
    blocked_by_the_policy,
    save,
)

PAGES = [
    "/admin/",
    # One connection of each kind; the last ones, above the links to the other pages; and none.
    f"{LIST}?q=ws_demo9", f"{LIST}?p=7", f"{LIST}?q=nothing",
    f"{LIST}add/", f"{LIST}find-by-key/",
    "/admin/stripe_connections/auditrecord/", "/admin/workspaces/tenant/",
    "/admin/workspaces/tenant/add/", "/admin/workspaces/tenant/1/change/",
    "/admin/workspaces/workspace/?q=ws_demo9",
    "/admin/workspaces/workspace/add/", "/admin/workspaces/workspace/1/change/",
]  # fmt: skip


# First, so that the history, the audit and the front page have something to show.
def test_conflict_keeps_what_was_typed_and_saved_and_is_accessible(open_as, complaints):
    mine, other = open_as("demo-staff"), open_as("demo-staff")
    mine.goto(OTHER_FORM)
    other.goto(OTHER_FORM)
    other.get_by_label("Name:").fill("By another user")
    save(other)
    expect(other.get_by_text("was changed successfully")).to_be_visible()

    mine.get_by_label("Description:").fill("Typed by me")
    save(mine)

    expect(mine.get_by_text("Somebody else changed this connection")).to_be_visible()
    expect(mine.get_by_role("row").nth(1)).to_contain_text("By another user")
    expect(mine.get_by_label("Description:")).to_have_value("Typed by me")
    expect(mine.get_by_label("Name:")).to_have_value("By another user")
    assert violations(mine) == {}
    save(mine)
    expect(mine.get_by_text("was changed successfully")).to_be_visible()
    expect(mine.get_by_label("Description:")).to_have_value("Typed by me")
    expect(mine.get_by_label("Name:")).to_have_value("By another user")
    mine.get_by_role("link", name="History").click()
    expect(mine.locator(".audit tbody tr").first).to_contain_text("Typed by me")
    assert violations(mine) == {}
    assert blocked_by_the_policy(complaints) == []


def test_pages_are_accessible(open_as):
    page = open_as("demo-staff")

    found = {path: violations(opened(page, path)) for path in PAGES}

    assert {path: problems for path, problems in found.items() if problems} == {}


def opened(page, path):
    page.goto(path)
    return page


def test_form_is_accessible_and_the_first_error_has_the_focus(open_as):
    page = open_as("demo-staff")
    page.goto(FORM)
    form = violations(page)
    page.get_by_label("Partner endpoint").fill("http://partner.example.com")
    page.get_by_label("Stripe account ID").fill("nonsense")
    page.get_by_label("New API key").fill(random_api_key("sk_test_"))
    save(page)
    expect(page.get_by_text("Please correct the errors below.")).to_be_visible()
    expect(page.get_by_label("Stripe account ID")).to_be_focused()

    assert (form, violations(page)) == ({}, {})


def test_confirmation_of_a_button_is_accessible(open_as):
    page = open_as("demo-staff")
    page.goto(OTHER_FORM)

    page.get_by_role("button", name="Deactivate").click()

    expect(page.get_by_text("This will deactivate 1 connection:")).to_be_visible()
    assert violations(page) == {}


def test_login_is_accessible(open_page):
    page = open_page()
    page.goto("/admin/")

    assert violations(page) == {}


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
