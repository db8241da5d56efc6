"""The pages of the audit: the history of a connection, and all records."""

import pytest
from auditlog.models import LogEntry
from django.contrib.auth.models import User

from stripe_connections import services
from stripe_connections.audit.records import Actor, Source
from tests.conftest import random_api_key
from tests.stripe_connections.admin.conftest import AUDIT, change_url, history_url, text

ONE_DATABASE = pytest.mark.only_on("sqlite", reason="this is about the pages")


@pytest.fixture
def changed(staff, manager, connection, workspace):
    """A connection that was changed by the API, the admin and a command."""
    manager.update(
        {"connectionBizId": "sc_abc123", "connectionName": "Second", "apiKey": random_api_key()},
        headers={"X-Request-Id": "from-the-gateway"},
    )
    staff.save(change_url(connection), connection_description="", status="0")
    services.update_connection(
        workspace=workspace,
        biz_id="sc_abc123",
        changes={"stripe_account_id": "acct_by_command"},
        actor=Actor(None, Source.COMMAND),
    )
    connection.refresh_from_db()
    return connection


def entries(client, connection):
    return client.peek(history_url(connection))["entries"]


def records(client, **query):
    found = client.peek(AUDIT, query)["cl"].result_list
    return [record.additional_data["version"] for record in found]


def test_history_shows_user_source_and_changes_newest_first(staff, changed):
    shown = [
        (entry.version, entry.username, entry.source, entry.request_id)
        for entry in entries(staff, changed)
    ]

    assert shown == [
        (4, "", "command", ""),
        (3, "staff", "admin", "request-1"),
        (2, "manager", "api", "from-the-gateway"),
    ]


def test_history_shows_old_and_new_values(staff, changed):
    shown = {
        change.label: (change.old_text, change.new_text)
        for entry in entries(staff, changed)
        for change in entry.changes
    }

    old_hint = LogEntry.objects.earliest("pk").changes["api_key"][0]
    assert shown == {
        "Name": ("Stripe Connection", "Second"),
        "API key": (old_hint, f"replaced {changed.api_key_hint}"),
        "Description": ("As it was", None),
        "Status": ("Active", "Inactive"),
        "Stripe account ID": ("acct_1234567890", "acct_by_command"),
    }


@ONE_DATABASE
def test_page_shows_the_history(staff, changed):
    page = text(staff.get(history_url(changed)))

    for shown in (
        "from-the-gateway",
        "manager",
        "Second",
        f"replaced {changed.api_key_hint}",
        "none",
    ):
        assert shown in page


@ONE_DATABASE
def test_all_records_show_labels_instead_of_names(staff, changed):
    page = text(staff.get(AUDIT))

    for shown in (
        "Time",
        "Stripe account ID",
        "Active",
        "Inactive",
        f"replaced {changed.api_key_hint}",
    ):
        assert f">{shown}<" in page


def test_history_has_only_the_records_of_the_connection(staff, changed, workspace, make_connection):
    assert entries(staff, make_connection(workspace)) == []


@ONE_DATABASE
def test_long_history_is_paginated(staff, connection, workspace):
    for number in range(51):
        services.update_connection(
            workspace=workspace,
            biz_id="sc_abc123",
            changes={"connection_name": f"Name {number}"},
            actor=Actor(None, Source.COMMAND),
        )

    first, second = (staff.get(history_url(connection), {"p": page}) for page in (1, 2))

    assert len(first.context["entries"]) == 50
    assert [entry.version for entry in second.context["entries"]] == [2]
    assert '<a href="?p=2">Older</a>' in text(first)


@ONE_DATABASE
def test_name_of_a_deleted_user_is_still_shown(staff, changed):
    User.objects.get(username="manager").delete()

    assert [entry.username for entry in entries(staff, changed)] == ["", "staff", "manager"]
    assert records(staff, user="manager") == [2]


@ONE_DATABASE
def test_markup_in_values_is_escaped(staff, connection):
    staff.save(change_url(connection), connection_name="<script>alert(1)</script>")

    for url in (history_url(connection), AUDIT, change_url(connection)):
        assert "<script>alert" not in text(staff.get(url))


FILTERED = [
    ({}, [4, 3, 2]),
    ({"user": "staff"}, [3]),
    ({"user": "manager"}, [2]),
    ({"user": "stranger"}, []),
    ({"user": "\0"}, [4, 3, 2]),
    ({"field": "api_key"}, [2]),
    ({"field": "status"}, [3]),
    ({"field": "version"}, [4, 3, 2]),
    ({"user": "staff", "field": "status"}, [3]),
    ({"day": "2001-01-01"}, []),
    ({"day": "yesterday"}, [4, 3, 2]),
    ({"day": "9999-12-31"}, [4, 3, 2]),
]


def test_all_records_can_be_filtered(staff, changed):
    assert [(query, records(staff, **query)) for query, _ in FILTERED] == FILTERED


def test_all_records_can_be_filtered_by_day(staff, changed):
    # Two, if midnight has passed in the meantime.
    days = {entry.timestamp.date().isoformat() for entry in LogEntry.objects.all()}

    assert [v for day in sorted(days)[::-1] for v in records(staff, day=day)] == [4, 3, 2]


@ONE_DATABASE
def test_all_records_cannot_be_filtered_by_other_lookups(staff):
    lookups = ("changes__icontains", "additional_data", "object_repr")

    assert [staff.get(AUDIT, {lookup: "x"}).status_code for lookup in lookups] == [400] * 3


@ONE_DATABASE
def test_all_records_link_to_the_connection(staff, changed):
    assert f'<a href="{change_url(changed)}">sc_abc123</a>' in text(staff.get(AUDIT))
