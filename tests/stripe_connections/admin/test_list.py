"""The list of connections: columns, search, filters and the number of queries."""

import re
from datetime import UTC, datetime

import pytest
from auditlog.models import LogEntry
from cryptography.fernet import Fernet
from django.contrib.admin import ModelAdmin, site
from django.db import connection as database
from django.test.utils import CaptureQueriesContext
from pytest_django.asserts import assertInHTML

from stripe_connections import services
from stripe_connections.admin import listing
from stripe_connections.audit.records import Actor, Source
from stripe_connections.models import Status, StripeConnection
from tests.conftest import random_api_key
from tests.stripe_connections.admin.conftest import (
    AUDIT,
    FIND,
    LIST,
    StaffClient,
    change_url,
    history_url,
)

ACTOR = Actor(None, Source.COMMAND)
ONE_DATABASE = pytest.mark.only_on("sqlite", reason="this is about the pages")
TIME = datetime(2026, 3, 1, 12, tzinfo=UTC)


def listed(client: StaffClient, **query):
    return [connection.biz_id for connection in client.peek(LIST, query)["cl"].result_list]


@ONE_DATABASE
def test_list_shows_the_values_of_a_connection(staff, connection):
    page = staff.get(LIST).getvalue().decode()

    for shown in (
        "sc_abc123", "Stripe Connection", "Example Ltd", "Demo", "acct_1234567890", "live",
        "Active", connection.api_key_hint,
    ):  # fmt: skip
        assert shown in page


@ONE_DATABASE
@pytest.mark.parametrize(
    ("url", "title"),
    [
        (LIST, "Connections"),
        (AUDIT, "Audit"),
        ("/admin/workspaces/tenant/", "Tenants"),
        ("/admin/workspaces/workspace/", "Workspaces"),
        ("/admin/auth/user/", "Users"),
    ],
)
def test_title_of_a_list_is_what_it_lists(superuser, connection, url, title):
    page = superuser.get(url).getvalue().decode()

    assert f"<title>{title} | Stripe Connections</title>" in page
    assert f"<h1>{title}</h1>" in page


@ONE_DATABASE
def test_checkbox_of_a_row_is_the_one_that_django_would_show(staff, connection):
    connection.connection_name = 'A "quoted" & <marked> name'
    connection.save()

    page = staff.get(LIST).getvalue().decode()

    assertInHTML(ModelAdmin(StripeConnection, site).action_checkbox(connection), page)


@ONE_DATABASE
@pytest.mark.parametrize(
    ("query", "filters"),
    [
        ({}, ""),
        ({"q": "a & b", "mode": "live"}, "?_changelist_filters=q%3Da%2B%2526%2Bb%26mode%3Dlive"),
    ],
)
def test_links_to_a_form_lead_back_to_the_filtered_list(staff, connection, query, filters):
    connection.connection_name = "A & B"
    connection.save()

    page = staff.get(LIST, query).getvalue().decode()

    links = re.findall(rf'href="({change_url(connection)}[^"]*)"', page)
    assert links == [f"{change_url(connection)}{filters}"] * 2


@ONE_DATABASE
def test_list_begins_with_name_status_mode_and_problems(staff, connection):
    page = staff.get(LIST).getvalue().decode()

    columns = re.findall(r'<t[hd] class="field-(\w+)', page)
    assert columns[:4] == ["connection_name", "state", "mode", "outcome"]


@ONE_DATABASE
@pytest.mark.parametrize("page", ["list", "form", "history", "audit"])
def test_dates_have_one_format_with_the_time_zone(staff, connection, page):
    StripeConnection.objects.update(
        created_at=TIME, updated_at=TIME, api_key_replaced_at=TIME, webhook_secret_replaced_at=TIME
    )
    staff.save(change_url(connection), connection_name="New")
    urls = {"list": LIST, "form": change_url(connection), "audit": AUDIT}

    shown = staff.get(urls.get(page, history_url(connection))).getvalue().decode()

    assert re.search(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC", shown)
    assert re.findall(r"\d{4}-\d\d-\d\d(?! \d\d:\d\d:\d\d UTC)|[ap]\.m\.|noon", shown) == []


@ONE_DATABASE
def test_list_has_every_column_and_the_replacement_date(staff, connection):
    columns = [
        "biz_id", "connection_name", "tenant", "workspace_name", "stripe_account_id", "mode",
        "state", "key_hint", "outcome", "api_key_replaced_at", "updated_at",
    ]  # fmt: skip

    page = staff.get(LIST).getvalue().decode()

    assert [name for name in columns if f"field-{name}" not in page] == []


def test_search_finds_the_connection(staff, connection, other_workspace, make_connection):
    """tests/stripe_connections/admin/test_search.py tests what is found."""
    make_connection(other_workspace, "sc_other1")

    assert listed(staff, q="ws_demo") == ["sc_abc123"]


FILTERED = [
    ({"status__exact": "1"}, ["sc_b", "sc_a"]),
    ({"status__exact": "0"}, ["sc_c"]),
    ({"mode": "live"}, ["sc_a"]),
    ({"mode": "test"}, ["sc_b"]),
    ({"problem": "no_webhook_secret"}, ["sc_c"]),
    ({"problem": "inactive"}, ["sc_c"]),
    ({"mode": "sandbox"}, ["sc_c", "sc_b", "sc_a"]),
    ({"problem": "x"}, ["sc_c", "sc_b", "sc_a"]),
    ({"status__exact": "1", "mode": "test"}, ["sc_b"]),
]


def test_list_can_be_filtered(staff, workspace, make_connection):
    make_connection(workspace, "sc_a")
    test_mode = make_connection(workspace, "sc_b")
    services.update_connection(
        workspace=workspace,
        biz_id=test_mode.biz_id,
        changes={"api_key": random_api_key("rk_test_")},
        actor=ACTOR,
    )
    StripeConnection.objects.create(
        workspace=workspace, biz_id="sc_c", connection_name="C", status=Status.INACTIVE
    )

    assert [(query, listed(staff, **query)) for query, _ in FILTERED] == FILTERED


LOOKUPS = (
    "api_key", "api_key__startswith", "api_key_fingerprint", "api_key_hint__contains",
    "webhook_secret__isnull", "webhook_secret_fingerprint__startswith", "workspace__tenant__biz_id",
    "verification__startswith", "verification_fingerprint",
)  # fmt: skip


@ONE_DATABASE
def test_list_cannot_be_filtered_by_other_lookups(staff, connection):
    found = {lookup: staff.get(LIST, {lookup: "1"}).status_code for lookup in LOOKUPS}

    assert found == dict.fromkeys(LOOKUPS, 400)


@ONE_DATABASE
def test_list_cannot_be_ordered_by_secrets(staff, connection):
    page = staff.peek(LIST)["cl"]

    assert set(page.sortable_by) == {"biz_id", "connection_name", "updated_at"}
    assert staff.get(LIST, {"o": "8.9"}).status_code == 200
    assert page.get_ordering_field("key_hint") is None


@ONE_DATABASE
def test_secret_in_the_search_box_redirects_to_find_by_key(staff, connection):
    secret = random_api_key()

    response = staff.get(LIST, {"q": f" {secret}"}, follow=True)

    assert response.redirect_chain == [(FIND, 302)]
    assert secret not in response.getvalue().decode()


@pytest.mark.parametrize("rows", [1, 40])
def test_number_of_queries_does_not_depend_on_the_number_of_rows(
    staff, workspace, make_connection, rows
):
    for _ in range(rows):
        make_connection(workspace)
    staff.get(LIST)

    with CaptureQueriesContext(
        database,
    ) as queries:
        staff.get(LIST)

    # The session, the user, the permissions (2), the bounded count and the page.
    reading = [query["sql"] for query in queries if query["sql"].startswith("SELECT")]
    assert len(reading) <= 6


def test_list_is_limited_and_does_not_count_more_rows(staff, workspace, monkeypatch):
    assert listing.MAX_LISTED == 1_000
    monkeypatch.setattr(listing, "MAX_LISTED", 10)
    StripeConnection.objects.bulk_create(
        StripeConnection(workspace=workspace, connection_name=f"Number {n}") for n in range(12)
    )

    with CaptureQueriesContext(database) as queries:
        page = staff.get(LIST)

    assert not [query["sql"] for query in queries if "COUNT(" in query["sql"].upper()]
    assert page.context["cl"].result_count == 10
    assert "Only the first 10 are listed" in page.getvalue().decode()


def test_list_of_records_does_not_count_them(staff, connection):
    with CaptureQueriesContext(database) as queries:
        staff.get(AUDIT)

    assert not [query["sql"] for query in queries if "COUNT(" in query["sql"].upper()]


@ONE_DATABASE
def test_list_decrypts_nothing(staff, connection, monkeypatch):
    monkeypatch.setattr(Fernet, "_decrypt_data", None)

    assert listed(staff) == ["sc_abc123"]


@ONE_DATABASE
@pytest.mark.parametrize("name", ["api_key", "webhook_secret"])
def test_damaged_secret_is_marked_and_the_others_are_listed(
    staff, connection, workspace, make_connection, damage, name
):
    make_connection(workspace, "sc_fine")
    damage(connection, name)

    response = staff.get(LIST)

    assert len(response.context["cl"].result_list) == 2
    assert response.getvalue().decode().count("badge unreadable") == 1


@ONE_DATABASE
def test_secrets_whose_key_was_removed_are_marked(staff, connection, settings):
    settings.FERNET_KEYS = [Fernet.generate_key().decode()]

    assert staff.get(LIST).getvalue().decode().count("badge unreadable") == 2


@ONE_DATABASE
def test_secrets_of_an_older_key_are_not_marked(staff, connection, settings):
    settings.FERNET_KEYS = [Fernet.generate_key().decode(), *settings.FERNET_KEYS]

    assert "badge unreadable" not in staff.get(LIST).getvalue().decode()


@ONE_DATABASE
def test_viewing_the_list_writes_no_record(staff, connection):
    staff.get(LIST)

    assert not LogEntry.objects.exists()
