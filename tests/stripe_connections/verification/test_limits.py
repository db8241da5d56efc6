"""Stripe is asked seldom: nobody can find out here which of many keys work."""

import pytest
from django.conf import settings as django_settings

from tests.conftest import ApiClient, random_api_key
from tests.stripe_connections.bulk.conftest import run
from workspaces import throttles
from workspaces.models import Role

NAMED = {"connectionBizId": "sc_abc123"}


@pytest.fixture
def limit(settings, stripe, monkeypatch):
    """Set how often Stripe may be asked, at the start of an hour."""
    monkeypatch.setattr(throttles, "time", lambda: 20_000 * 86_400 + 0.5)

    def set_limit(rate):
        settings.REST_FRAMEWORK = django_settings.REST_FRAMEWORK | {
            "DEFAULT_THROTTLE_RATES": {"stripe": rate}
        }

    return set_limit


@pytest.fixture
def elsewhere(other_workspace, make_user, make_connection):
    """Somebody who manages another workspace, with a connection there; updates it."""
    make_connection(other_workspace, "sc_other")
    client = ApiClient(make_user("other manager", other_workspace, Role.MANAGER))

    def update(**changes):
        return client.update({"connectionBizId": "sc_other"} | changes, "ws_other").status_code

    return update


def update(client, key=None):
    return client.update(NAMED | {"apiKey": key or random_api_key()})


def test_workspace_may_try_so_many_keys(manager, connection, stripe, limit, stored):
    limit("2/hour")
    assert [update(manager).status_code for _ in range(2)] == [200, 200]
    before = stored(connection)

    response = update(manager)

    assert (response.status_code, response.json()["code"]) == (429, "4290")
    assert response["Retry-After"] == "3600"
    assert stored(connection) == before
    assert len(stripe.requests) == 2


def test_refused_and_unanswered_tries_count(manager, connection, stripe, limit):
    limit("2/hour")
    stripe.rejects()
    assert update(manager).status_code == 400
    stripe.fails(503)
    assert update(manager).status_code == 200

    assert update(manager).status_code == 429


def test_key_may_be_tried_so_often_anywhere(manager, connection, elsewhere, stripe, limit):
    limit("2/hour")
    key = random_api_key()

    assert [update(manager, key).status_code for _ in range(2)] == [200, 200]
    assert elsewhere(apiKey=key) == 429
    assert elsewhere(apiKey=random_api_key()) == 200


def test_what_asks_nobody_is_not_counted(manager, connection, stripe, limit):
    limit("1/hour")
    swapped = manager.update(NAMED | {"apiKey": random_api_key("sk_test_")})
    assert swapped.json()["errors"][0]["code"] == "mode_mismatch"
    assert manager.update(NAMED | {"connectionName": "New"}).status_code == 200
    assert manager.update(NAMED | {"apiKey": "pk_x"}).status_code == 400

    assert update(manager).status_code == 200


def test_other_calls_go_on_past_the_limit(manager, connection, stripe, limit):
    limit("1/hour")
    assert [update(manager).status_code for _ in range(2)] == [200, 429]

    assert manager.update(NAMED | {"connectionName": "New"}).status_code == 200


def test_limit_is_off_where_it_is_empty(manager, connection, stripe, limit):
    limit(None)

    assert {update(manager).status_code for _ in range(5)} == {200}


def test_limit_counts_nothing_where_nobody_is_asked(manager, connection, fake_stripe, settings):
    settings.REST_FRAMEWORK = django_settings.REST_FRAMEWORK | {
        "DEFAULT_THROTTLE_RATES": {"stripe": "1/hour"}
    }

    assert {update(manager).status_code for _ in range(3)} == {200}


def test_commands_are_not_limited(manager, connection, stripe, limit):
    limit("1/hour")
    assert update(manager).status_code == 200

    result = run("verify_connections", "--apply", "--max-age", "0")

    assert (result.code, len(stripe.requests)) == (0, 2)
    assert update(manager).status_code == 429
