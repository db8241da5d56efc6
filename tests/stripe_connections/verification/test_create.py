"""The create call verifies the key, once for each Idempotency-Key."""

import pytest
from auditlog.models import LogEntry

from stripe_connections.models import IdempotencyKey, StripeConnection
from tests.conftest import random_api_key
from tests.fake_stripe import OTHER, STORED
from tests.stripe_connections.api.test_create_connection import KEY, create


def test_result_is_returned(manager, stripe):
    body = {"connectionName": "New", "apiKey": random_api_key(), "stripeAccountId": STORED}

    response = create(manager, body)

    assert response.status_code == 200
    found = response.json()["data"]["extra"]["verification"]
    assert (found["outcome"], found["accountId"]) == ("verified", STORED)
    assert stripe.keys == [body["apiKey"]]


@pytest.mark.parametrize(
    ("answer", "field", "code"),
    [
        (("rejects",), "apiKey", "rejected_by_stripe"),
        (("knows", OTHER), "stripeAccountId", "account_mismatch"),
    ],
)
def test_connection_with_a_bad_key_is_not_created(manager, stripe, answer, field, code):
    name, *arguments = answer
    getattr(stripe, name)(*arguments)
    body = {"connectionName": "New", "apiKey": random_api_key(), "stripeAccountId": STORED}

    response = create(manager, body, KEY)

    (error,) = response.json()["errors"]
    assert (response.status_code, response.json()["code"]) == (400, "4000")
    assert (error["field"], error["code"]) == (field, code)
    assert not StripeConnection.objects.exists()
    assert not IdempotencyKey.objects.exists()
    assert not LogEntry.objects.exists()


def test_creation_can_be_repeated_after_stripe_did_not_answer(manager, stripe, settings):
    settings.STRIPE_VERIFY_REQUIRED = True
    body = {"connectionName": "New", "apiKey": random_api_key()}
    stripe.fails(503)
    assert create(manager, body, KEY).status_code == 503
    assert not StripeConnection.objects.exists()
    stripe.knows(STORED)

    response = create(manager, body, KEY)

    assert (response.status_code, response.get("Idempotent-Replayed")) == (200, None)


def test_replayed_creation_sends_no_request(manager, stripe):
    body = {"connectionName": "New", "apiKey": random_api_key()}
    create(manager, body, KEY)
    stripe.rejects()

    response = create(manager, body, KEY)

    assert (response.status_code, response["Idempotent-Replayed"]) == (200, "true")
    assert len(stripe.requests) == 1


def test_no_request_is_sent_if_verification_is_off(manager, fake_stripe):
    response = create(manager, {"connectionName": "New", "apiKey": random_api_key()})

    assert response.json()["data"]["extra"]["verification"]["outcome"] == "unverified"
    assert fake_stripe.requests == []
