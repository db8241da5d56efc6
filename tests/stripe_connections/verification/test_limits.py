"""Verification is limited, so that nobody can use it to find out which of many keys work."""

import pytest
from django.conf import settings as django_settings

from tests.conftest import ApiClient, random_api_key
from tests.stripe_connections.bulk.conftest import run
from workspaces.models import Role

# tests/workspaces/test_throttle.py tests the counters on both databases.
pytestmark = pytest.mark.only_on("sqlite", reason="the counters are tested on both databases")
NAMED = {"connectionBizId": "sc_abc123"}


@pytest.fixture
def limit(settings, stripe):
    """Return a function that sets THROTTLE_STRIPE."""

    def set_limit(rate):
        settings.REST_FRAMEWORK = django_settings.REST_FRAMEWORK | {
            "DEFAULT_THROTTLE_RATES": {"stripe": rate}
        }

    return set_limit


@pytest.fixture
def elsewhere(other_workspace, make_user, make_connection):
    """Return a function that updates a connection in another workspace."""
    make_connection(other_workspace, "sc_other")
    client = ApiClient(make_user("other manager", other_workspace, Role.MANAGER))

    def update(**changes):
        return client.update({"connectionBizId": "sc_other"} | changes, "ws_other").status_code

    return update


def update(client, key=None):
    return client.update(NAMED | {"apiKey": key or random_api_key()})


def test_number_of_keys_is_limited_for_a_workspace(manager, connection, stripe, limit, stored):
    limit("2/hour")
    assert [update(manager).status_code for _ in range(2)] == [200, 200]
    before = stored(connection)

    response = update(manager)

    assert (response.status_code, response.json()["code"]) == (429, "4290")
    assert response["Retry-After"] == "3600"
    assert stored(connection) == before
    assert len(stripe.requests) == 2


def test_rejected_keys_and_missing_replies_count(manager, connection, stripe, limit):
    limit("2/hour")
    stripe.rejects()
    assert update(manager).status_code == 400
    stripe.fails(503)
    assert update(manager).status_code == 200

    assert update(manager).status_code == 429


def test_number_of_attempts_is_limited_for_a_key_in_all_workspaces(
    manager, connection, elsewhere, stripe, limit
):
    limit("2/hour")
    key = random_api_key()

    assert [update(manager, key).status_code for _ in range(2)] == [200, 200]
    assert elsewhere(apiKey=key) == 429
    assert elsewhere(apiKey=random_api_key()) == 200


def test_calls_without_a_request_to_stripe_are_not_counted(manager, connection, stripe, limit):
    limit("1/hour")
    swapped = manager.update(NAMED | {"apiKey": random_api_key("sk_test_")})
    assert swapped.json()["errors"][0]["code"] == "mode_mismatch"
    assert manager.update(NAMED | {"connectionName": "New"}).status_code == 200
    assert manager.update(NAMED | {"apiKey": "pk_x"}).status_code == 400

    assert update(manager).status_code == 200


def test_other_updates_succeed_above_the_limit(manager, connection, stripe, limit):
    limit("1/hour")
    assert [update(manager).status_code for _ in range(2)] == [200, 429]

    assert manager.update(NAMED | {"connectionName": "New"}).status_code == 200


def test_empty_setting_turns_the_limit_off(manager, connection, stripe, limit):
    limit(None)

    assert {update(manager).status_code for _ in range(5)} == {200}


def test_nothing_is_counted_if_verification_is_off(manager, connection, fake_stripe, settings):
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
