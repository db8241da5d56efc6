"""No call shows a secret in its response, the log, the output, the audit or the database."""

import pytest
from django.db import IntegrityError, OperationalError
from django.db import connection as database
from stripe import SignatureVerificationError

from stripe_connections import services, use
from stripe_connections.audit.records import Actor, Source
from stripe_connections.undo import leaks
from tests.conftest import random_api_key, random_webhook_secret
from tests.service import wait_for
from tests.stripe_connections.canary.conftest import (
    CONNECTIONS,
    LOGIN,
    create,
    new_secrets,
    secret_body,
)

pytestmark = pytest.mark.django_db(transaction=True)
REPLY = pytest.mark.only_on("sqlite", reason="replies do not depend on the database")


def test_success_shows_no_secret(client, canaries, look_everywhere):
    response = client.update(secret_body(canaries, connectionName="New"))

    assert response.status_code == 200
    assert look_everywhere(response) == set()


def test_replaced_secret_is_deleted(client, canaries, look_everywhere):
    response = client.update(
        {
            "connectionBizId": "sc_abc123",
            "apiKey": random_api_key(),
            "webhookSecret": random_webhook_secret(),
        }
    )

    assert response.status_code == 200
    assert look_everywhere(response) == set()


@pytest.mark.parametrize("field", ["apiKey", "webhookSecret"])
def test_restored_secret_is_shown_nowhere(client, canaries, look_everywhere, field):
    new = {"apiKey": random_api_key(), "webhookSecret": random_webhook_secret()}
    replaced = client.update({"connectionBizId": "sc_abc123"} | new)
    path = f"{CONNECTIONS}/restore"
    body = {"connectionBizId": "sc_abc123", "field": field}
    restored = client.post(path, body, content_type="application/json")

    assert (replaced.status_code, restored.status_code) == (200, 200)
    assert look_everywhere(replaced, restored) == set()


def test_leaked_secret_is_shown_nowhere(client, canaries, look_everywhere):
    leaks.report(canaries.planted["apiKey"], Actor(None, Source.COMMAND))
    response = client.update(secret_body(canaries))

    assert response.status_code == 409
    assert look_everywhere(response) == set()


def test_used_secret_is_shown_nowhere(canaries, look_everywhere):
    used, _ = use.stripe_client("ws_demo", "sc_abc123", purpose="test")
    with pytest.raises(SignatureVerificationError) as caught:
        use.construct_event("ws_demo", "sc_abc123", b"{}", "t=1,v1=00")
    canaries.collect("objects", used, repr(used), repr(caught.value), vars(caught.value))

    assert look_everywhere() == set()


def test_creation_and_replay_show_no_secret(client, canaries, look_everywhere):
    """The idempotency key is a secret, too."""
    key = canaries.planted["apiKey"]
    responses = [create(client, new_secrets(canaries), key) for _ in range(2)]
    responses.append(create(client, new_secrets(canaries, connectionName="Other"), key))

    assert [response.status_code for response in responses] == [200, 200, 422]
    assert look_everywhere(*responses) == set()


def test_creation_that_fails_shows_no_secret(client, canaries, look_everywhere):
    def refuse(execute, sql, *args):
        if "INSERT" in sql:
            raise IntegrityError("refused")
        return execute(sql, *args)

    with database.execute_wrapper(refuse):
        response = create(client, new_secrets(canaries), canaries.planted["webhookSecret"])

    assert response.status_code == 500
    assert look_everywhere(response) == set()


@pytest.mark.parametrize("call", ["list", "detail", "history", "status"])
def test_other_calls_show_no_secret(client, canaries, look_everywhere, call):
    changed = client.update(secret_body(canaries, connectionName="New"))

    response = client.call(call)

    assert (changed.status_code, response.status_code) == (200, 200)
    assert look_everywhere(changed, response) == set()


def test_detail_sent_back_with_a_secret_does_not_show_it(client, canaries, look_everywhere):
    shown = client.call("detail").json()["data"]

    response = client.update(shown | {"apiKey": canaries.planted["apiKey"]})

    assert response.status_code == 200
    assert look_everywhere(response) == set()


def test_crash_shows_no_secret(client, canaries, look_everywhere, monkeypatch):
    def crash(*, changes, **kwargs):
        local = f"a frame that holds {changes['api_key']}"
        raise RuntimeError("boom") from KeyError(len(local))

    monkeypatch.setattr(services, "update_connection", crash)
    response = client.update(secret_body(canaries))

    assert response.status_code == 500
    assert look_everywhere(response) == set()


@REPLY
@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (("rejects",), 400),
        (("knows", "acct_other"), 400),
        (("repeats", 200), 200),
        (("repeats", 400), 200),
        (("repeats", 403), 200),
        (("repeats", 429), 200),
        (("repeats", 500), 200),
        (("is_silent",), 200),
    ],
    ids=str,
)
def test_verification_shows_no_secret(client, canaries, look_everywhere, stripe, answer, status):
    name, *arguments = answer
    getattr(stripe, name)(*arguments)

    response = client.update(secret_body(canaries, stripeAccountId="acct_given"))

    assert response.status_code == status
    wait_for(lambda: stripe.keys, "The request")
    assert stripe.keys[0] == canaries.planted["apiKey"]
    assert look_everywhere(response) == set()


@REPLY
@pytest.mark.parametrize(
    ("answer", "status"),
    [("rejects", 200), ("is_silent", 503)],
)
def test_verify_call_shows_no_secret(client, canaries, look_everywhere, stripe, answer, status):
    getattr(stripe, answer)()
    path = "/web/v1/workspaces/ws_demo/stripe/connections/verify"

    response = client.post(path, {"connectionBizId": "sc_abc123"}, "application/json")

    assert response.status_code == status
    wait_for(lambda: stripe.keys, "The request")
    assert stripe.keys == [canaries.planted["apiKey"]]
    assert look_everywhere(response) == set()


@pytest.mark.parametrize(("error", "status"), [(IntegrityError, 500), (OperationalError, 503)])
def test_failing_database_shows_no_secret(client, canaries, look_everywhere, error, status):
    def refuse(execute, sql, *args):
        if "UPDATE stripe_connections_stripeconnection" in sql:
            raise error("refused")
        return execute(sql, *args)

    with database.execute_wrapper(refuse):
        response = client.update(secret_body(canaries))

    assert response.status_code == status
    assert look_everywhere(response) == set()


def test_login_shows_no_secret(client, canaries, look_everywhere):
    credentials = {"username": "canary", "password": canaries.planted["password"]}
    response = client.post(LOGIN, credentials, content_type="application/json")
    tokens = response.json()["data"]
    refreshed = client.post(
        f"{LOGIN}/refresh",
        {"refreshToken": tokens["refreshToken"]},
        content_type="application/json",
    )

    assert (response.status_code, refreshed.status_code) == (200, 200)
    assert look_everywhere(response, refreshed) == set()


def test_issued_tokens_are_not_stored(client, canaries, look_everywhere):
    credentials = {"username": "canary", "password": canaries.planted["password"]}
    tokens = client.post(LOGIN, credentials, content_type="application/json").json()["data"]
    canaries.planted |= {"new access": tokens["accessToken"], "new refresh": tokens["refreshToken"]}
    client.post(
        f"{LOGIN}/refresh",
        {"refreshToken": tokens["refreshToken"]},
        content_type="application/json",
    )

    assert look_everywhere() == set()
