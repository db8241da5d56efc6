"""The update call: omitted fields keep their values, null clears, and values are written."""

from datetime import UTC, datetime, timedelta

import pytest
from auditlog.models import LogEntry
from django.utils import timezone

from stripe_connections.models import StripeConnection
from tests.conftest import plain_secrets, random_api_key, random_webhook_secret

UPDATE = {
    "connectionName": "New",
    "connectionDescription": "New description",
    "stripeAccountId": "acct_new",
    "apiKey": "sk_" + "test_newkey1234",
    "webhookSecret": "whsec_newsecret1234",
    "partnerEndpoint": "https://new.example.com/",
    "configJson": '{"new": true}',
}
# Every write changes these columns.
ALWAYS = {"version", "updated_at"}
COLUMNS = {
    "connectionName": {"connection_name"},
    "connectionDescription": {"connection_description"},
    "stripeAccountId": {"stripe_account_id"},
    "apiKey": {"api_key", "api_key_hint", "api_key_fingerprint", "api_key_replaced_at"},
    "webhookSecret": {
        "webhook_secret",
        "webhook_secret_hint",
        "webhook_secret_fingerprint",
        "webhook_secret_replaced_at",
    },
    "partnerEndpoint": {"partner_endpoint"},
    "configJson": {"config_json"},
}
NULLABLE = ["connectionDescription", "stripeAccountId", "partnerEndpoint", "configJson"]
LATER = datetime(2030, 1, 2, 3, 4, 5, 678_000, tzinfo=UTC)


def body(**fields):
    return {"connectionBizId": "sc_abc123"} | fields


def changed(before, after):
    return {column for column, value in after.items() if value != before[column]}


def test_documented_example(manager, connection):
    response = manager.update(
        {
            "connectionBizId": "sc_abc123",
            "connectionName": "Updated Stripe Connection",
            "connectionDescription": "Updated description",
        }
    )

    connection.refresh_from_db()
    body = response.json()
    timestamp = body["timestamp"]
    created = connection.created_at.strftime("%Y-%m-%dT%H:%M:%SZ")
    updated = connection.updated_at.strftime("%Y-%m-%dT%H:%M:%SZ")
    assert response.status_code == 200
    assert response.content.decode() == (
        f'{{"version":"1.3.0","timestamp":{timestamp},"success":true,"code":"2000",'
        '"message":"SUCCESS","data":{"bizId":"sc_abc123","tenantBizId":"tn_xyz789",'
        '"connectionName":"Updated Stripe Connection",'
        '"connectionDescription":"Updated description","stripeAccountId":"acct_1234567890",'
        '"partnerEndpoint":"https://partner.example.com/webhook","configJson":null,"status":1,'
        f'"statusName":"ACTIVE","createdAt":"{created}","updatedAt":"{updated}"}}}}'
    )


def test_update_is_written(manager, connection):
    manager.update({"connectionBizId": "sc_abc123", "connectionName": "New"})

    assert StripeConnection.objects.get(biz_id="sc_abc123").connection_name == "New"


@pytest.mark.parametrize("field", UPDATE)
def test_omitted_field_keeps_its_value(manager, connection, stored, field):
    before = stored(connection)

    response = manager.update(body(**{field: UPDATE[field]}))

    assert response.status_code == 200
    assert changed(before, stored(connection)) == COLUMNS[field] | ALWAYS


def test_all_fields_change_together(manager, connection, stored):
    before = stored(connection)

    manager.update(body(**UPDATE))

    assert changed(before, stored(connection)) == set().union(ALWAYS, *COLUMNS.values())


@pytest.mark.parametrize("field", NULLABLE)
def test_null_clears_the_field(manager, connection, stored, field):
    manager.update(body(**UPDATE))
    before = stored(connection)

    response = manager.update(body(**{field: None}))

    [column] = COLUMNS[field]
    assert response.json()["data"][field] is None
    assert stored(connection)[column] is None
    assert changed(before, stored(connection)) == {column} | ALWAYS


def test_empty_description_is_not_null(manager, connection, stored):
    response = manager.update(body(connectionDescription=""))

    assert response.json()["data"]["connectionDescription"] == ""
    assert stored(connection)["connection_description"] == ""


@pytest.mark.parametrize("field", ["apiKey", "webhookSecret"])
@pytest.mark.parametrize("value", [None, "", "••••"])
def test_secret_cannot_be_cleared(manager, assert_refused, field, value):
    response = manager.update(body(**{field: value}))

    assert_refused(response, 400, "4000")


@pytest.mark.parametrize("extra", [{}, {"status": 0, "bizId": "sc_other", "updatedAt": None}])
def test_without_an_updatable_field_nothing_is_written(manager, connection, stored, extra):
    etag = manager.update(body(**UPDATE))["ETag"]
    before = stored(connection)

    response = manager.update(body(**extra))

    assert response.status_code == 200
    assert response["ETag"] == etag
    assert response.json()["data"]["connectionName"] == "New"
    assert stored(connection) == before
    assert LogEntry.objects.count() == 1


def test_without_an_updatable_field_an_unknown_connection_is_404(manager, connection):
    response = manager.update({"connectionBizId": "sc_nothere"})

    assert (response.status_code, response.json()["code"]) == (404, "4040")


@pytest.mark.parametrize("field", ["connectionName", "apiKey", "webhookSecret", "configJson"])
def test_equal_value_increments_the_version(manager, connection, field):
    first = manager.update(body(**{field: UPDATE[field]}))
    second = manager.update(body(**{field: UPDATE[field]}))

    assert (first["ETag"], second["ETag"]) == ('"2"', '"3"')
    assert LogEntry.objects.count() == 2


def test_updated_at_is_now_and_created_at_stays(manager, connection, stored):
    """On PostgreSQL, the time is that of the database when the row is locked."""
    created_at = stored(connection)["created_at"]
    before = timezone.now().replace(microsecond=0)

    data = manager.update(body(connectionName="New")).json()["data"]

    assert before <= datetime.fromisoformat(data["updatedAt"]) <= timezone.now()
    assert stored(connection)["created_at"] == created_at


def test_created_at_is_shown_in_utc(manager, make_connection, workspace):
    time = LATER + timedelta(hours=1)
    make_connection(workspace, "sc_later", created_at=time, updated_at=time)

    data = manager.update({"connectionBizId": "sc_later"}).json()["data"]

    assert (data["createdAt"], data["updatedAt"]) == ("2030-01-02T04:04:05Z",) * 2


@pytest.mark.parametrize(("status", "name"), [(1, "ACTIVE"), (0, "INACTIVE")])
def test_status_is_shown_and_an_inactive_connection_can_be_updated(
    manager, make_connection, workspace, status, name
):
    make_connection(workspace, "sc_this", status=status)

    data = manager.update({"connectionBizId": "sc_this", "connectionName": "New"}).json()["data"]

    assert (data["status"], data["statusName"], data["connectionName"]) == (status, name, "New")


def test_response_can_be_sent_back_with_one_changed_field(manager, connection, stored):
    shown = manager.update(body(**UPDATE))
    before = stored(connection)

    response = manager.update(
        shown.json()["data"] | {"connectionBizId": "sc_abc123", "connectionName": "Newer"},
        headers={"If-Match": shown["ETag"]},
    )

    assert response.status_code == 200
    assert changed(before, stored(connection)) == {"connection_name"} | ALWAYS


def test_new_secrets_replace_the_old_ones(manager, connection):
    api_key, webhook_secret = random_api_key("rk_live_"), random_webhook_secret()

    manager.update(body(apiKey=api_key, webhookSecret=webhook_secret))

    connection = StripeConnection.objects.get()
    assert plain_secrets(connection) == (
        api_key,
        webhook_secret,
    )


def test_missing_secret_can_be_set(manager, workspace):
    StripeConnection.objects.create(workspace=workspace, biz_id="sc_bare", connection_name="Bare")

    response = manager.update({"connectionBizId": "sc_bare", "apiKey": UPDATE["apiKey"]})

    assert response.status_code == 200
    connection = StripeConnection.objects.get()
    assert plain_secrets(connection) == (
        UPDATE["apiKey"],
        None,
    )


def test_other_connections_are_not_changed(manager, connection, make_connection, stored):
    other = make_connection(connection.workspace, "sc_other")
    before = stored(other)

    manager.update(body(**UPDATE))

    assert stored(other) == before
