"""A replaced webhook secret can stay valid for a while, because Stripe signs with both."""

from datetime import datetime, timedelta

import pytest
from django.core.management import call_command
from django.utils import timezone

from stripe_connections.models import ReplacedSecret
from tests.conftest import errors_of, random_webhook_secret
from tests.stripe_connections.undo.conftest import age

DAY = 24 * 3600


def roll(manager, **more):
    body = {"connectionBizId": "sc_abc123", "webhookSecret": random_webhook_secret()} | more
    return manager.update(body)


def shown(manager):
    return manager.read("/sc_abc123").json()["data"]["extra"]["previousWebhookSecretUntil"]


def test_end_of_the_overlap_is_shown(manager, connection):
    assert roll(manager, webhookSecretKeepSeconds=DAY).status_code == 200

    until = datetime.fromisoformat(shown(manager))
    assert abs(until - timezone.now() - timedelta(days=1)) < timedelta(minutes=1)
    [item] = manager.read().json()["data"]["items"]
    assert item["extra"]["previousWebhookSecretUntil"] == shown(manager)


@pytest.mark.parametrize("more", [{}, {"webhookSecretKeepSeconds": 0}])
def test_end_is_null_without_an_overlap(manager, connection, more):
    assert roll(manager, **more).status_code == 200
    assert shown(manager) is None


def test_overlap_ends(manager, connection):
    roll(manager, webhookSecretKeepSeconds=60)
    age(timedelta(minutes=2))

    assert shown(manager) is None


@pytest.mark.parametrize("seconds", [0, 60])
def test_clock_that_is_put_back_prolongs_no_overlap(manager, connection, seconds):
    roll(manager, webhookSecretKeepSeconds=seconds)
    age(-timedelta(days=1))

    assert shown(manager) is None


@pytest.mark.parametrize(("seconds", "is_shown"), [(0, False), (3_600, True)])
def test_clock_of_another_machine_may_be_a_little_ahead(manager, connection, seconds, is_shown):
    roll(manager, webhookSecretKeepSeconds=seconds)
    age(-timedelta(minutes=4))

    assert (shown(manager) is not None) == is_shown


def test_new_connection_has_no_overlap(manager, workspace):
    path = "/web/v1/workspaces/ws_demo/stripe/connections/create"
    response = manager.post(path, {"connectionName": "New"}, content_type="application/json")

    assert response.json()["data"]["extra"]["previousWebhookSecretUntil"] is None


def test_verify_shows_the_overlap(manager, connection, stripe):
    roll(manager, webhookSecretKeepSeconds=DAY)
    response = manager.call("verify")

    assert response.json()["data"]["extra"]["previousWebhookSecretUntil"] == shown(manager)


def test_overlap_does_not_depend_on_the_undo_setting(manager, connection, settings):
    settings.SECRET_UNDO_DAYS = 0
    roll(manager, webhookSecretKeepSeconds=DAY)
    roll(manager)

    assert ReplacedSecret.objects.count() == 1
    assert shown(manager) is not None
    call_command("delete_replaced_secrets")
    assert shown(manager) is not None


BAD = [
    (-1, "out_of_range"),
    (604_801, "out_of_range"),
    (10**30, "out_of_range"),
    (1.5, "invalid_type"),
    ("60", "invalid_type"),
    (True, "invalid_type"),
    ([60], "invalid_type"),
    (None, "null"),
]


@pytest.mark.usefixtures("untouched")
def test_bad_number_of_seconds_is_refused(manager):
    found = [errors_of(roll(manager, webhookSecretKeepSeconds=value)) for value, _ in BAD]

    assert found == [(400, [("webhookSecretKeepSeconds", code)]) for _, code in BAD]


@pytest.mark.parametrize("value", [0, 1, 60.0, 604_800])
def test_limits_are_accepted(manager, connection, value):
    assert roll(manager, webhookSecretKeepSeconds=value).status_code == 200


def test_overlap_without_a_new_secret_is_refused(manager, assert_refused):
    body = {"connectionBizId": "sc_abc123", "webhookSecretKeepSeconds": 60}
    response = manager.update(body)

    [error] = assert_refused(response, 400, "4000")["errors"]
    assert (error["field"], error["code"]) == ("webhookSecret", "required")


def test_zero_seconds_need_no_new_secret(manager, connection):
    """Some clients send the default of every field with every update."""
    body = {"connectionBizId": "sc_abc123", "connectionName": "New", "webhookSecretKeepSeconds": 0}

    assert manager.update(body).status_code == 200


def test_creation_does_not_accept_an_overlap(manager, workspace):
    path = "/web/v1/workspaces/ws_demo/stripe/connections/create"
    body = {"connectionName": "New", "webhookSecretKeepSeconds": 60}
    response = manager.post(path, body, content_type="application/json")

    assert response.json()["errors"][0]["code"] == "unknown"
