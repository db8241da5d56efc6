"""What each kind of user may do in the admin."""

import pytest
from auditlog.models import LogEntry
from django.urls import reverse

from tests.conftest import random_api_key, random_webhook_secret
from tests.stripe_connections.admin.conftest import (
    ADD,
    AUDIT,
    FIND,
    LIST,
    StaffClient,
    change_url,
    history_url,
    text,
)

pytestmark = pytest.mark.only_on("sqlite", reason="permissions are the same")


@pytest.fixture
def people(staff, colleague, support, superuser, make_staff, make_user):
    return {
        "staff": staff,
        "colleague": colleague,
        "support": support,
        "superuser": superuser,
        "newcomer": make_staff("newcomer"),
        "customer": StaffClient(make_user("customer")),
        "nobody": StaffClient(),
    }


@pytest.fixture
def urls(connection):
    return {
        "list": LIST,
        "form": change_url(connection),
        "add": ADD,
        "find": FIND,
        "history": history_url(connection),
        "all history": AUDIT,
        "delete": f"{LIST}{connection.pk}/delete/",
    }


@pytest.mark.parametrize(
    ("person", "expected"),
    [
        # In the order of `urls`.
        ("staff", [200, 200, 200, 200, 200, 200, 403]),
        ("colleague", [200, 200, 200, 200, 200, 200, 403]),
        ("support", [200, 200, 403, 200, 200, 200, 403]),
        ("superuser", [200, 200, 200, 200, 200, 200, 403]),
        ("newcomer", [403, 403, 403, 403, 403, 403, 403]),
        ("customer", [302, 302, 302, 302, 302, 302, 302]),
        ("nobody", [302, 302, 302, 302, 302, 302, 302]),
    ],
)
def test_pages_that_each_user_may_open(unrendered, people, urls, person, expected):
    assert [people[person].get(url).status_code for url in urls.values()] == expected


@pytest.mark.parametrize(
    ("person", "expected"),
    [("staff", 302), ("colleague", 302), ("superuser", 302), ("support", 403), ("newcomer", 403)],
)
def test_users_who_may_change_a_connection(
    unrendered, people, connection, stored, staff, person, expected
):
    before = stored(connection)
    form = staff.form(change_url(connection))

    response = people[person].post(change_url(connection), form | {"connection_name": "New"})

    assert response.status_code == expected
    assert (stored(connection) == before) is (expected == 403)


@pytest.mark.parametrize(
    ("name", "make"), [("api_key", random_api_key), ("webhook_secret", random_webhook_secret)]
)
def test_posting_a_secret_without_the_permission_is_refused(
    colleague, connection, workspace, stored, name, make
):
    before = stored(connection)
    form = colleague.form(change_url(connection))

    changed = colleague.post(change_url(connection), form | {name: make()})
    added = colleague.post(
        ADD, {"workspace": workspace.pk, "connection_name": "New", "status": "1", name: make()}
    )

    assert (changed.status_code, added.status_code) == (403, 403)
    assert stored(connection) == before
    assert workspace.connections.count() == 1


@pytest.mark.parametrize("person", ["colleague", "support"])
def test_form_has_no_inputs_for_secrets_without_the_permission(people, connection, person):
    page = text(people[person].get(change_url(connection)))

    assert connection.api_key_hint in page
    assert 'type="password"' not in page


def test_viewer_gets_no_hidden_fields(support, connection):
    assert "seen_version" not in text(support.get(change_url(connection)))


def test_form_has_inputs_for_secrets_with_the_permission(staff, connection):
    assert text(staff.get(change_url(connection))).count('type="password"') == 2


def test_permission_to_replace_secrets_does_not_include_change(make_staff, connection, stored):
    viewer = make_staff("odd", "view_stripeconnection", "replace_secrets")
    before = stored(connection)

    page = text(viewer.get(change_url(connection)))
    response = viewer.post(change_url(connection), {"api_key": random_api_key()})

    assert 'type="password"' not in page
    assert response.status_code == 403
    assert stored(connection) == before


@pytest.mark.parametrize("person", ["staff", "superuser"])
def test_connection_cannot_be_deleted(people, connection, stored, person):
    client = people[person]
    before = stored(connection)

    client.post(f"{LIST}{connection.pk}/delete/", {"post": "yes"})
    client.act("delete_selected", connection, post="yes")

    assert stored(connection) == before
    assert "delete_selected" not in text(client.get(LIST))


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("get", "add/"),
        ("post", "add/"),
        ("get", "{pk}/change/"),
        ("post", "{pk}/change/"),
        ("get", "{pk}/delete/"),
        ("post", "{pk}/delete/"),
        ("get", "{pk}/history/"),
    ],
)
def test_audit_record_cannot_be_changed(superuser, staff, connection, method, path):
    staff.save(change_url(connection), connection_name="New")
    before = LogEntry.objects.values().get()

    response = getattr(superuser, method)(AUDIT + path.format(pk=before["id"]), {"post": "yes"})

    assert response.status_code in {403, 404}
    assert LogEntry.objects.values().get() == before


def test_history_does_not_allow_post(superuser, connection):
    assert superuser.post(history_url(connection)).status_code == 405


def test_list_of_records_has_no_actions(superuser, staff, connection):
    staff.save(change_url(connection), connection_name="New")

    assert 'name="action"' not in text(superuser.get(AUDIT))


@pytest.mark.parametrize("model", ["outstandingtoken", "blacklistedtoken"])
def test_refresh_tokens_have_no_page(superuser, model):
    assert superuser.get(f"/admin/token_blacklist/{model}/").status_code == 404


def test_only_a_superuser_may_view_users(unrendered, superuser, staff):
    url = reverse("admin:auth_user_changelist")

    assert superuser.get(url).status_code == 200
    assert staff.get(url).status_code == 403
