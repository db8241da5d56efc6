"""The front page of the admin: search, numbers of problems, and recent changes."""

import re
from datetime import timedelta

import pytest
from django.db import connection as database
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from stripe_connections.models import Status, StripeConnection
from tests.stripe_connections.admin.conftest import LIST, change_url, text

FRONT = "/admin/"
ONE_DATABASE = pytest.mark.only_on("sqlite", reason="this is about the page")


def numbers(response):
    """Return the numbers on the page, by the query string of their link."""
    return {
        link: int(count)
        for link, count in re.findall(
            rf'href="{LIST}\?(.*?)"><strong>(\d+)</strong>', text(response)
        )
    }


@pytest.fixture
def troubled(workspace, make_connection, damage):
    """A connection for each problem, and one without problems."""
    verified = {"verification_at": timezone.now()}
    make_connection(workspace, "sc_fine", **verified)
    make_connection(workspace, "sc_rejected", verification="rejected", **verified)
    damage(make_connection(workspace, "sc_unreadable", **verified))
    make_connection(workspace, "sc_unverified")
    make_connection(workspace, "sc_inactive", status=Status.INACTIVE, **verified)
    StripeConnection.objects.create(
        workspace=workspace, biz_id="sc_no_webhook_secret", connection_name="No secrets"
    )
    make_connection(workspace, "sc_old", **verified)
    StripeConnection.objects.filter(biz_id="sc_old").update(
        api_key_replaced_at=timezone.now() - timedelta(days=91)
    )


PROBLEMS = ["rejected", "unreadable", "unverified", "no_webhook_secret", "inactive"]


def test_problem_is_counted_and_links_to_the_connections(staff, troubled, settings):
    settings.SECRET_MAX_AGE_DAYS = 90
    names = [*PROBLEMS, "old"]

    lists = {name: staff.peek(f"{LIST}?problem={name}")["cl"].result_list for name in names}

    assert numbers(staff.get(FRONT)) == {f"problem={name}": 1 for name in names}
    listed = {name: [row.biz_id for row in rows] for name, rows in lists.items()}
    assert listed == {name: [f"sc_{name}"] for name in names}


@ONE_DATABASE
def test_age_of_secrets_is_not_counted_by_default(staff, troubled):
    assert [*numbers(staff.get(FRONT))] == [f"problem={name}" for name in PROBLEMS]


@ONE_DATABASE
def test_numbers_are_zero_without_problems(staff):
    assert {*numbers(staff.get(FRONT)).values()} == {0}


@ONE_DATABASE
def test_search_box_searches_connections(staff):
    page = text(staff.get(FRONT))

    assert f'<form role="search" method="get" action="{LIST}">' in page
    assert 'type="search" name="q"' in page


@ONE_DATABASE
def test_last_changes_are_shown(staff, connection):
    staff.save(change_url(connection), connection_name="New name")

    page = text(staff.get(FRONT))

    assert f'<a href="{change_url(connection)}">sc_abc123</a>' in page
    assert "New name" in page
    assert re.search(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC", page)


@ONE_DATABASE
def test_export_is_among_the_last_changes(staff, connection):
    staff.act("export", connection)

    assert "1 connection<" in text(staff.get(FRONT))


@ONE_DATABASE
def test_page_links_to_the_lists(superuser):
    page = text(superuser.get(FRONT))

    assert ">Connections</a>" in page
    assert ">Audit</a>" in page


@ONE_DATABASE
def test_staff_without_permission_to_view_connections_see_none(make_staff, connection, staff):
    staff.save(change_url(connection), connection_name="New name")

    response = make_staff("keeper", "view_workspace").get(FRONT)

    assert response.status_code == 200
    assert numbers(response) == {}
    assert "sc_abc123" not in text(response)


@ONE_DATABASE
def test_visitor_must_log_in(client):
    response = client.get(FRONT, headers={"X-Forwarded-Proto": "https"})

    assert response["Location"] == "/admin/login/?next=/admin/"


@pytest.mark.parametrize("rows", [1, 60])
def test_number_of_queries_does_not_depend_on_the_number_of_rows(staff, workspace, rows):
    StripeConnection.objects.bulk_create(
        StripeConnection(workspace=workspace, connection_name=f"{n}") for n in range(rows)
    )
    staff.get(FRONT)

    with CaptureQueriesContext(database) as queries:
        staff.get(FRONT)

    # The session, the user, the permissions (2), unreadable secrets (2), the numbers, the changes.
    reading = [query["sql"] for query in queries if query["sql"].startswith("SELECT")]
    assert len(reading) <= 8
