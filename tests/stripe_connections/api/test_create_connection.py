"""The create call, and its `Idempotency-Key`."""

import json
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from hashlib import sha256
from threading import Barrier

import pytest
from auditlog.models import LogEntry
from cryptography.fernet import Fernet
from django.contrib.auth.models import User
from django.db import connection as database
from django.db import connections
from django.utils import timezone

from config.delete_expired import DELETED_ROWS
from stripe_connections import idempotency
from stripe_connections.idempotency import IdempotencyRecord
from stripe_connections.models import IdempotencyKey, Status, StripeConnection
from tests.conftest import (
    ApiClient,
    connections_path,
    errors_of,
    plain_secrets,
    random_api_key,
    random_webhook_secret,
)
from tests.fake_stripe import STORED
from tests.stripe_connections.api.test_get_connection import ELEVEN
from tests.stripe_connections.api.test_update_fields import PLAIN, VALID
from workspaces.models import Membership

NAME = {"connectionName": "New"}
KEY = "7f0c1c0e-1d5a-4a53-9b0e-6d1f5f7f6a10"


def create(client, body=NAME, key=None, workspace_id="ws_demo", **headers):
    headers |= {"Idempotency-Key": key} if key is not None else {}
    path = f"{connections_path(workspace_id)}/create"
    return client.post(path, body, content_type="application/json", headers=headers)


def biz_id(response):
    assert response.status_code == 200
    return response.json()["data"]["bizId"]


def counts():
    return (
        StripeConnection.objects.count(), LogEntry.objects.count(), IdempotencyKey.objects.count()
    )  # fmt: skip


def test_every_field_is_stored(manager):
    api_key, webhook_secret = random_api_key(), random_webhook_secret()
    plain = {name: VALID[name] for name in PLAIN}
    body = plain | {"apiKey": api_key, "webhookSecret": webhook_secret}

    response = create(manager, body)

    data = response.json()["data"]
    stored = StripeConnection.objects.defer(None).get(biz_id=biz_id(response))
    assert {name: data[name] for name in plain} == plain
    assert plain_secrets(stored) == (api_key, webhook_secret)
    assert stored.workspace.biz_id == "ws_demo"


def test_response_is_that_of_the_detail_call(manager):
    response = create(manager, NAME | {"apiKey": random_api_key()})

    shown = manager.read(f"/{biz_id(response)}")
    assert list(response.json()["data"]) == [*ELEVEN, "extra"]
    assert response.json()["data"] == shown.json()["data"]
    assert response["ETag"] == shown["ETag"] == '"1"'
    assert "Idempotent-Replayed" not in response


def test_only_the_name_is_required(manager):
    data = create(manager).json()["data"]

    assert data["connectionName"] == "New"
    assert (data["status"], data["statusName"]) == (Status.ACTIVE, "ACTIVE")
    names = ("connectionDescription", "stripeAccountId", "partnerEndpoint", "configJson")
    assert [data[name] for name in names] == [None] * 4
    assert (data["extra"]["mode"], data["extra"]["hasWebhookSecret"]) == (None, False)


def test_creation_is_in_the_audit(manager):
    key = random_api_key()

    created = create(manager, NAME | {"apiKey": key}, **{"X-Request-Id": "request-1"})

    record = LogEntry.objects.get()
    assert record.action == LogEntry.Action.CREATE
    assert record.object_repr == biz_id(created)
    assert (record.actor.username, record.cid) == ("manager", "request-1")
    assert record.changes == {
        "connection_name": [None, "New"],
        "api_key": [None, f"replaced sk_live_…{key[-4:]}"],
    }


def test_without_a_key_each_call_creates_a_connection(manager):
    assert biz_id(create(manager)) != biz_id(create(manager))
    assert counts() == (2, 2, 0)


def test_data_of_another_connection_can_be_sent(manager, connection):
    shown = manager.read("/sc_abc123").json()["data"]

    data = create(manager, shown | {"connectionName": "Copy"}).json()["data"]

    assert data["bizId"] != "sc_abc123"
    assert data["partnerEndpoint"] == shown["partnerEndpoint"]
    assert data["extra"]["apiKeyHint"] is None


BAD = {
    "no name": ({}, [("connectionName", "required")]),
    "null": ({"connectionName": None}, [("connectionName", "null")]),
    "blank": ({"connectionName": " "}, [("connectionName", "blank")]),
    "id": (NAME | {"connectionBizId": "sc_abc123"}, [("connectionBizId", "unknown")]),
    "unknown": (NAME | {"apikey": ""}, [("apikey", "unknown")]),
    "masked": (NAME | {"apiKey": "sk_live_****"}, [("apiKey", "masked")]),
    "null secret": (NAME | {"webhookSecret": None}, [("webhookSecret", "null")]),
    "all": (
        {"stripeAccountId": "x", "extra": "\0"},
        [
            ("connectionName", "required"),
            ("extra", "invalid_characters"),
            ("stripeAccountId", "not_an_account_id"),
        ],
    ),
}


@pytest.mark.parametrize("key", [None, KEY], ids=["once", "with a key"])
def test_bad_fields_are_all_listed_and_nothing_is_created(manager, key):
    def refuse(body):
        status, errors = errors_of(create(manager, json.dumps(body), key))
        return status, sorted(errors)

    assert {kind: refuse(body) for kind, (body, _) in BAD.items()} == {
        kind: (400, errors) for kind, (_, errors) in BAD.items()
    }
    assert counts() == (0, 0, 0)


def test_invalid_key_is_refused(manager):
    keys = ["", "x" * 256, "é", "\t", "a\x00b", "a\x7f", "k1,k2", ","]
    found = {key: errors_of(create(manager, NAME, key)) for key in keys}

    assert found == dict.fromkeys(keys, (400, [("Idempotency-Key", "invalid")]))
    assert counts() == (0, 0, 0)


@pytest.mark.parametrize("key", ["x", "x" * 255, '"quoted"', "with a space", "~!@#$%^&*()"])
def test_second_call_with_the_same_key_creates_nothing(manager, key):
    first = create(manager, NAME, key)
    second = create(manager, NAME, key)

    assert second.json()["data"] == first.json()["data"]
    assert (first.get("Idempotent-Replayed"), second["Idempotent-Replayed"]) == (None, "true")
    assert second["ETag"] == '"1"'
    assert counts() == (1, 1, 1)


def test_replay_is_not_verified_again(manager, stripe):
    body = NAME | {"apiKey": random_api_key()}

    created = [biz_id(create(manager, body, KEY)) for _ in range(2)]

    assert len(set(created)) == 1
    assert stripe.keys == [body["apiKey"]]


def test_idempotency_key_can_be_used_again_after_a_rejected_api_key(manager, stripe):
    body = NAME | {"apiKey": random_api_key()}
    stripe.rejects()
    refused = create(manager, body, KEY)
    stripe.knows(STORED)

    created = create(manager, NAME, KEY)

    assert (refused.status_code, refused.json()["errors"][0]["code"]) == (400, "rejected_by_stripe")
    assert (created.status_code, counts()) == (200, (1, 1, 1))


def test_order_of_the_fields_does_not_matter(workspace):
    """Another version of the service may validate the fields in another order."""
    one, other = {"a": "1", "b": "2"}, {"b": "2", "a": "1"}

    assert IdempotencyRecord.of(workspace, KEY, one) == IdempotencyRecord.of(workspace, KEY, other)


def test_another_key_creates_another_connection(manager):
    assert biz_id(create(manager, NAME, "a")) != biz_id(create(manager, NAME, "A"))


def test_replay_shows_the_current_connection(manager):
    created = biz_id(create(manager, NAME, KEY))
    manager.update({"connectionBizId": created, "connectionName": "Changed"})

    replay = create(manager, NAME, KEY)

    assert (biz_id(replay), replay["ETag"]) == (created, '"2"')
    assert replay.json()["data"]["connectionName"] == "Changed"


def test_body_with_another_spelling_is_the_same_body(manager):
    key = random_api_key()
    first = create(manager, NAME | {"apiKey": key, "connectionDescription": "d"}, KEY)

    second = create(
        manager,
        {
            "extra": {},
            "apiKey": f" {key}\n",
            "connectionDescription": "d",
            "connectionName": "New ",
        },
        KEY,
    )

    assert biz_id(second) == biz_id(first)
    assert second["Idempotent-Replayed"] == "true"


@pytest.mark.parametrize(
    "other",
    [
        {"connectionName": "Other"},
        {"connectionName": "new"},
        NAME | {"apiKey": random_api_key()},
        NAME | {"stripeAccountId": None},
        NAME | {"connectionDescription": ""},
    ],
)
def test_another_body_is_refused(manager, other):
    create(manager, NAME, KEY)
    before = counts()

    response = create(manager, other, KEY)

    assert (response.status_code, response.json()["code"]) == (422, "4220")
    assert response.json()["message"] == "The Idempotency-Key was used with another body"
    assert counts() == before


def test_key_belongs_to_the_workspace(manager, sibling_workspace):
    Membership.objects.create(
        user=User.objects.get(username="manager"), workspace=sibling_workspace, role="manager"
    )
    here = create(manager, NAME, KEY)

    there = create(manager, {"connectionName": "Other"}, KEY, "ws_sibling")

    assert biz_id(there) != biz_id(here)
    assert "Idempotent-Replayed" not in there


def test_another_manager_gets_the_same_connection(manager, workspace, make_user):
    first = create(manager, NAME, KEY)

    second = create(ApiClient(make_user("second", workspace)), NAME, KEY)

    assert biz_id(second) == biz_id(first)


@pytest.mark.parametrize(("hours", "is_replayed"), [(23.9, True), (24.1, False)])
def test_key_is_kept_for_a_day(manager, hours, is_replayed):
    first = create(manager, NAME, KEY)
    IdempotencyKey.objects.update(created_at=timezone.now() - timedelta(hours=hours))

    second = create(manager, NAME, KEY)

    assert (biz_id(second) == biz_id(first)) is is_replayed
    assert IdempotencyKey.objects.count() == 1


def test_expired_key_can_be_used_with_another_body(manager):
    create(manager, NAME, KEY)
    IdempotencyKey.objects.update(created_at=timezone.now() - timedelta(hours=25))

    second = create(manager, {"connectionName": "Other"}, KEY)

    assert second.json()["data"]["connectionName"] == "Other"
    assert biz_id(create(manager, {"connectionName": "Other"}, KEY)) == biz_id(second)


def test_creations_delete_old_keys_every_ten_minutes(
    manager, workspace, connection, ten_minutes_later
):
    hours = [25] * (DELETED_ROWS + 5) + [1] * 3
    IdempotencyKey.objects.bulk_create(
        IdempotencyKey(
            workspace=workspace,
            connection=connection,
            key_digest=str(number),
            body_fingerprint="x",
            created_at=timezone.now() - timedelta(hours=age),
        )
        for number, age in enumerate(hours)
    )

    ten_minutes_later(idempotency)
    left = []
    for key in ("a", "b"):
        create(manager, NAME, key)
        left.append(IdempotencyKey.objects.count())

    assert left == [5 + 3 + 1, 3 + 2]


@pytest.mark.parametrize("kept", [0, 1, 2])
def test_rotation_of_the_encryption_key_keeps_idempotency_keys(manager, settings, kept):
    first = create(manager, NAME, KEY)
    settings.FERNET_KEYS = [Fernet.generate_key().decode(), *settings.FERNET_KEYS[:kept]]

    assert biz_id(create(manager, NAME, KEY)) == biz_id(first)
    assert create(manager, {"connectionName": "Other"}, KEY).status_code == 422


def test_deleted_connection_is_created_again(manager):
    first = biz_id(create(manager, NAME, KEY))
    StripeConnection.objects.all().delete()

    assert biz_id(create(manager, NAME, KEY)) != first


@pytest.mark.parametrize("table", ["auditlog_logentry", "stripe_connections_idempotencykey"])
def test_failed_creation_stores_nothing(manager, transactional_db, table):
    def refuse(execute, sql, *args):
        if f'INTO "{table}"' in sql:
            raise RuntimeError("refused")
        return execute(sql, *args)

    with database.execute_wrapper(refuse):
        response = create(manager, NAME, KEY)

    assert (response.status_code, response.json()["code"]) == (500, "5000")
    assert counts() == (0, 0, 0)
    assert "Idempotent-Replayed" not in create(manager, NAME, KEY)


def test_neither_key_nor_body_is_stored(manager):
    secret = random_api_key()

    create(manager, NAME | {"apiKey": secret}, secret)

    [row] = IdempotencyKey.objects.values()
    assert secret not in str(row)
    assert row["body_fingerprint"] != StripeConnection.objects.get().api_key_fingerprint


@pytest.fixture
def at_once(transactional_db, database_file, manager):
    """Return a function that sends creations at the same time and returns the responses."""
    user = User.objects.get(username="manager")

    def call(requests):
        start = Barrier(len(requests))

        def one(request):
            client = ApiClient(user)
            try:
                start.wait(timeout=120)
                return create(client, *request)
            finally:
                connections.close_all()

        with ThreadPoolExecutor(len(requests)) as pool:
            return list(pool.map(one, requests))

    return call


def test_concurrent_calls_with_one_key_create_one_connection(at_once):
    responses = at_once([(NAME, KEY)] * 8)

    assert Counter(response.status_code for response in responses) == {200: 8}
    assert len({response.json()["data"]["bizId"] for response in responses}) == 1
    assert Counter(response.get("Idempotent-Replayed") for response in responses) == {
        None: 1,
        "true": 7,
    }
    assert counts() == (1, 1, 1)


def test_concurrent_calls_with_one_key_and_different_bodies_create_one_connection(at_once):
    responses = at_once([({"connectionName": f"Name {number}"}, KEY) for number in range(8)])

    assert Counter(response.status_code for response in responses) == {200: 1, 422: 7}
    assert counts() == (1, 1, 1)


def test_concurrent_calls_with_an_expired_key_create_one_connection(at_once, manager):
    create(manager, NAME, KEY)
    IdempotencyKey.objects.update(created_at=timezone.now() - timedelta(hours=25))

    responses = at_once([(NAME, KEY)] * 8)

    assert Counter(response.status_code for response in responses) == {200: 8}
    assert counts() == (2, 2, 1)


def test_concurrent_calls_with_different_keys_succeed_while_old_keys_are_deleted(
    at_once, manager, workspace, ten_minutes_later
):
    for number in range(8):
        create(manager, NAME, f"old {number}")
    IdempotencyKey.objects.update(created_at=timezone.now() - timedelta(hours=25))

    ten_minutes_later(idempotency)
    responses = at_once([(NAME, f"old {number}") for number in range(8)])

    assert Counter(response.status_code for response in responses) == {200: 8}
    assert counts() == (16, 16, 8)


@pytest.mark.only_on("postgresql", reason="SQLite has one timeout for each connection")
def test_wait_for_a_hanging_call_with_the_same_key_is_limited(
    manager, connection, other_session, settings
):
    settings.LOCK_TIMEOUT_SECONDS = 0.1
    other_session.set_autocommit(False)
    with other_session.cursor() as cursor:
        cursor.execute(
            "INSERT INTO stripe_connections_idempotencykey "
            "(workspace_id, key_digest, body_fingerprint, connection_id, created_at) "
            "VALUES (%s, %s, 'x', %s, now())",
            [connection.workspace_id, sha256(KEY.encode()).hexdigest(), connection.pk],
        )

    response = create(manager, NAME, KEY)

    assert (response.status_code, response.json()["code"]) == (503, "5030")
    assert int(response["Retry-After"]) >= 1
    assert counts() == (1, 0, 0)
