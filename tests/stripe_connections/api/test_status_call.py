"""The status call activates and deactivates a connection, which the update call cannot."""

import pytest
from auditlog.models import LogEntry

from stripe_connections.models import Status
from tests.conftest import connections_path, errors_of, set_columns

OFF = {"connectionBizId": "sc_abc123", "status": "INACTIVE"}


def set_status(client, body=OFF, **kwargs):
    kwargs.setdefault("content_type", "application/json")
    return client.post(f"{connections_path()}/status", body, **kwargs)


@pytest.mark.parametrize(
    ("before", "name", "after"),
    [
        (Status.ACTIVE, "INACTIVE", 0),
        (Status.INACTIVE, "ACTIVE", 1),
        (Status.ACTIVE, "ACTIVE", 1),
    ],
)
def test_status_is_stored_and_returned(manager, connection, before, name, after):
    set_columns(connection, status=before)

    response = set_status(manager, OFF | {"status": name})

    data = response.json()["data"]
    assert (response.status_code, data["status"], data["statusName"]) == (200, after, name)
    assert response["ETag"] == '"2"'
    connection.refresh_from_db()
    assert (connection.status, connection.version) == (after, 2)


def test_nothing_else_changes(manager, connection, stored):
    before = stored(connection)

    set_status(manager)

    after = stored(connection)
    changed = {name for name, value in after.items() if value != before[name]}
    assert changed == {"status", "version", "updated_at"}


def test_response_is_that_of_the_update_call(manager, connection):
    shown = manager.update({"connectionBizId": "sc_abc123"}).json()["data"]

    assert list(set_status(manager).json()["data"]) == list(shown)


def test_change_is_in_the_audit(manager, connection):
    set_status(manager, headers={"X-Request-Id": "the-id"})

    [entry] = LogEntry.objects.all()
    assert entry.changes == {"status": [1, 0]}
    assert (entry.actor.username, entry.cid) == ("manager", "the-id")
    assert entry.additional_data["source"] == "api"


def test_stale_version_is_412(manager, connection, assert_refused):
    assert_refused(set_status(manager, headers={"If-Match": '"7"'}), 412, "4120")


def test_current_version_is_accepted(manager, connection):
    assert set_status(manager, headers={"If-Match": '"1"'}).status_code == 200


BAD = [
    ({"connectionBizId": "sc_abc123"}, ("status", "required")),
    (OFF | {"status": None}, ("status", "null")),
    (OFF | {"status": 0}, ("status", "invalid_type")),
    (OFF | {"status": True}, ("status", "invalid_type")),
    (OFF | {"status": ["ACTIVE"]}, ("status", "invalid_type")),
    (OFF | {"status": " "}, ("status", "blank")),
    (OFF | {"status": "active"}, ("status", "not_a_choice")),
    (OFF | {"status": "DELETED"}, ("status", "not_a_choice")),
    (OFF | {"status": "ACTIVE\0"}, ("status", "invalid_characters")),
    ({"status": "INACTIVE"}, ("connectionBizId", "required")),
    (OFF | {"connectionName": "New"}, ("connectionName", "unknown")),
    (OFF | {"extra": {}}, ("extra", "unknown")),
]


@pytest.mark.usefixtures("untouched")
def test_bad_body_is_refused(manager):
    found = [errors_of(set_status(manager, body)) for body, _ in BAD]

    assert found == [(400, [error]) for _, error in BAD]


def test_inactive_connection_can_be_updated_and_read(manager, connection):
    set_status(manager)

    assert (
        manager.update({"connectionBizId": "sc_abc123", "connectionName": "x"}).status_code == 200
    )
    assert manager.read("/sc_abc123").json()["data"]["statusName"] == "INACTIVE"
