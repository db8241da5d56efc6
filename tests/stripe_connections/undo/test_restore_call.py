"""The restore call."""

import pytest
from prometheus_client import REGISTRY

from stripe_connections.models import ReplacedSecret
from tests.conftest import connections_path, errors_of, random_api_key
from tests.fake_stripe import OTHER
from tests.stripe_connections.undo.conftest import MAKE, current, replace

BODY = {"connectionBizId": "sc_abc123", "field": "apiKey"}
COLUMNS = {"apiKey": "api_key", "webhookSecret": "webhook_secret"}


def call(client, body=BODY, **headers):
    path = f"{connections_path()}/restore"
    return client.post(path, body, content_type="application/json", headers=headers)


@pytest.mark.parametrize("field", COLUMNS)
def test_last_replaced_secret_is_restored(manager, connection, field):
    name = COLUMNS[field]
    old = current(name)
    replace(connection, **{name: MAKE[name]()})
    response = call(manager, BODY | {"field": field})

    assert (response.status_code, response["ETag"]) == (200, '"3"')
    assert list(response.json()["data"])[:2] == ["bizId", "tenantBizId"]
    assert len(response.json()["data"]) == 11
    assert current(name) == old


def test_history_shows_the_restore(manager, replaced):
    call(manager)
    [entry] = manager.read("/sc_abc123/history", {"limit": 1}).json()["data"]["items"]

    assert (entry["version"], entry["action"], entry["actor"]) == (3, "changed", "manager")
    assert entry["changes"][0]["new"].startswith("restored sk_live_…")


def test_second_call_changes_nothing(manager, replaced):
    _, old, _ = replaced
    call(manager)
    response = call(manager)

    assert response.status_code == 400
    assert response.json()["errors"] == [
        {"field": "field", "code": "not_found", "message": "The replaced secret is in use again."}
    ]
    assert current() == old


BAD = [
    ({"field": "apiKey"}, "connectionBizId", "required"),
    ({"connectionBizId": "sc_abc123"}, "field", "required"),
    (BODY | {"field": "connectionName"}, "field", "not_a_choice"),
    (BODY | {"field": ["apiKey"]}, "field", "invalid_type"),
    (BODY | {"field": None}, "field", "null"),
    (BODY | {"field": "webhookSecret"}, "field", "not_found"),
    (BODY | {"apiKey": "x"}, "apiKey", "unknown"),
]


def test_bad_body_is_refused(manager, replaced):
    found = [errors_of(call(manager, body)) for body, *_ in BAD]

    assert found == [(400, [(field, code)]) for _, field, code in BAD]
    assert current() == replaced[2]


def test_unreadable_secret_is_reported(manager, replaced):
    ReplacedSecret.objects.update(ciphertext=b"damaged")
    response = call(manager)

    assert response.status_code == 400
    assert response.json()["errors"][0]["code"] == "unreadable"


@pytest.mark.parametrize(("etag", "status"), [('"1"', 412), ('"2"', 200), ("*", 200)])
def test_precondition_is_checked(manager, replaced, etag, status):
    assert call(manager, **{"If-Match": etag}).status_code == status


def test_viewer_is_refused(viewer, replaced):
    assert call(viewer).status_code == 403


def test_key_of_another_account_is_refused(manager, replaced, stripe):
    stripe.knows(OTHER)
    response = call(manager)

    assert response.json()["errors"][0]["code"] == "account_mismatch"
    assert current() == replaced[2]


def test_restores_are_counted(manager, replaced):
    name, labels = "connection_restores_total", {"field": "api_key"}
    before = REGISTRY.get_sample_value(name, labels) or 0
    call(manager)

    assert REGISTRY.get_sample_value(name, labels) == before + 1


def test_restoring_writes_only_the_secret(manager, replaced, stored):
    connection, *_ = replaced
    replace(connection, connection_name="Renamed", stripe_account_id="acct_new")
    before = stored(connection)
    call(manager)

    changed = {name for name, value in stored(connection).items() if value != before[name]}
    columns = {"api_key", "api_key_hint", "api_key_fingerprint", "api_key_replaced_at"}
    assert changed == columns | {"version", "updated_at"}


def test_secret_replaced_by_a_restore_is_kept(manager, replaced):
    call(manager)

    row = ReplacedSecret.objects.get(version=3)
    assert (row.is_restore, row.username) == (True, "manager")


def test_last_of_several_replacements_is_undone(manager, connection):
    keys = [random_api_key() for _ in range(3)]
    for key in keys:
        replace(connection, api_key=key)
    call(manager)

    assert current() == keys[1]
