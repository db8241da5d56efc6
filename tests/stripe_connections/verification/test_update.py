"""An update with a new key or account is verified first, if verification is on."""

import pytest
from auditlog.models import LogEntry

from stripe_connections.models import StripeConnection
from stripe_connections.stripe_api.replies import Cause, Reply
from tests.conftest import (
    known_of,
    outcome_of,
    plain,
    random_api_key,
    random_webhook_secret,
    set_columns,
)
from tests.fake_stripe import OTHER, STORED

NAMED = {"connectionBizId": "sc_abc123"}
INCONCLUSIVE = [("fails", 503), ("fails", 429), ("fails", 400), ("sends", 200, b"<html>")]
REQUESTS = pytest.mark.only_on(
    "sqlite", reason="whether a request is sent does not depend on the database"
)


def verification_of(connection):
    return outcome_of(connection).verification


@pytest.fixture
def verified(connection):
    """The connection with a verified key."""
    StripeConnection.objects.filter(pk=connection.pk).update(
        verification="verified",
        verification_at=connection.created_at,
        verification_account_id=STORED,
    )
    return StripeConnection.objects.get(pk=connection.pk)


def test_new_key_is_verified_and_saved(manager, connection, stripe):
    key = random_api_key()

    response = manager.update(NAMED | {"apiKey": f" {key}\n"})

    assert response.status_code == 200
    assert stripe.keys == [key]
    found = outcome_of(connection)
    assert (found.verification, found.account_id) == ("verified", STORED)
    assert found.at is not None
    assert plain(StripeConnection.objects.defer(None).get(), "api_key") == key


@REQUESTS
@pytest.mark.parametrize(
    "changes",
    [
        {"connectionName": "New"},
        {"webhookSecret": random_webhook_secret()},
        {"stripeAccountId": STORED},
        {},
    ],
    ids=["name", "webhook secret", "same account", "nothing"],
)
def test_other_updates_send_no_request(manager, verified, stripe, changes):
    assert manager.update(NAMED | changes).status_code == 200

    assert stripe.requests == []
    assert verification_of(verified) == "verified"


def test_removing_the_account_resets_the_outcome_without_a_request(manager, verified, stripe):
    assert manager.update(NAMED | {"stripeAccountId": None}).status_code == 200

    assert stripe.requests == []
    assert outcome_of(verified) == Reply()


def test_new_account_is_verified_with_the_stored_key(manager, connection, stripe):
    stripe.knows(OTHER)
    stored_key = plain(StripeConnection.objects.defer(None).get(), "api_key")

    assert manager.update(NAMED | {"stripeAccountId": OTHER}).status_code == 200

    assert stripe.keys == [stored_key]
    assert known_of(connection) == ("verified", OTHER)


@pytest.mark.parametrize("changes", [{"apiKey": random_api_key()}, {"stripeAccountId": OTHER}])
def test_rejected_key_is_not_saved(manager, stripe, assert_refused, changes):
    stripe.rejects()

    body = assert_refused(manager.update(NAMED | {"connectionName": "New"} | changes), 400, "4000")

    (error,) = body["errors"]
    assert (error["field"], error["code"]) == ("apiKey", "rejected_by_stripe")
    assert len(stripe.requests) == 1


def test_restricted_key_is_saved_with_the_missing_permission(manager, connection, stripe):
    stripe.fails(403, "Having the 'rak_accounts_kyc_basic_read' permission would allow this.")

    response = manager.update(NAMED | {"apiKey": random_api_key("rk_live_")})

    assert response.status_code == 200
    found = outcome_of(connection)
    assert found.verification == "restricted"
    assert (found.account_id, found.missing_permission) == (None, "rak_accounts_kyc_basic_read")


@pytest.mark.parametrize("how", INCONCLUSIVE)
def test_key_with_an_inconclusive_reply_is_saved_as_unverified(manager, verified, stripe, how):
    name, *arguments = how
    getattr(stripe, name)(*arguments)

    assert manager.update(NAMED | {"apiKey": random_api_key()}).status_code == 200

    found = outcome_of(verified)
    assert found == Reply(at=found.at, cause=found.cause)
    assert found.at is not None


@pytest.mark.parametrize("how", INCONCLUSIVE)
def test_key_with_an_inconclusive_reply_is_refused_if_verification_is_required(
    manager, connection, stripe, settings, assert_refused, how
):
    settings.STRIPE_VERIFY_REQUIRED = True
    name, *arguments = how
    getattr(stripe, name)(*arguments)

    response = manager.update(NAMED | {"apiKey": random_api_key()})

    body = assert_refused(response, 503, "5030")
    assert body["message"] in Cause.labels
    assert response["Retry-After"] == "60"


@pytest.mark.parametrize(
    ("changes", "account_id"),
    [
        ({"apiKey": random_api_key()}, STORED),
        ({"apiKey": random_api_key(), "stripeAccountId": "acct_given"}, "acct_given"),
        ({"stripeAccountId": "acct_given"}, "acct_given"),
    ],
    ids=["stored", "given", "given, with the stored key"],
)
def test_key_of_another_account_is_refused_with_both_ids(
    manager, stripe, assert_refused, changes, account_id
):
    stripe.knows(OTHER)

    body = assert_refused(manager.update(NAMED | changes), 400, "4000")

    (error,) = body["errors"]
    assert (error["field"], error["code"]) == ("stripeAccountId", "account_mismatch")
    assert OTHER in error["message"]
    assert account_id in error["message"]


@pytest.mark.parametrize(
    ("changes", "account_id"),
    [({"stripeAccountId": OTHER}, OTHER), ({"stripeAccountId": None}, None)],
)
def test_key_can_be_changed_together_with_its_account(
    manager, connection, stripe, changes, account_id
):
    stripe.knows(OTHER)

    response = manager.update(NAMED | changes | {"apiKey": random_api_key()})

    assert response.status_code == 200
    assert response.json()["data"]["stripeAccountId"] == account_id
    assert known_of(connection) == ("verified", OTHER)


@pytest.mark.parametrize("prefix", ["sk_test_", "rk_test_"])
def test_test_key_cannot_replace_a_live_key(manager, stripe, assert_refused, prefix):
    body = assert_refused(manager.update(NAMED | {"apiKey": random_api_key(prefix)}), 400, "4000")

    (error,) = body["errors"]
    assert (error["field"], error["code"]) == ("apiKey", "mode_mismatch")
    assert stripe.requests == []


def test_live_key_cannot_replace_a_test_key(manager, connection, stripe, stored):
    set_columns(connection, api_key_hint="sk_test_…4242")
    before = stored(connection)

    response = manager.update(NAMED | {"apiKey": random_api_key()})

    assert response.status_code == 400
    assert response.json()["errors"][0]["code"] == "mode_mismatch"
    assert stored(connection) == before


@pytest.mark.parametrize("hint", [None, "sk_…"])
def test_unknown_mode_is_not_compared(manager, workspace, stripe, hint):
    connection = StripeConnection.objects.create(workspace=workspace, connection_name="Old")
    connection.replace_secret("api_key", random_api_key("sk_"))
    connection.save()

    body = {"connectionBizId": connection.biz_id, "apiKey": random_api_key("sk_test_")}
    assert manager.update(body).status_code == 200


def test_account_without_a_key_is_saved_without_a_request(manager, workspace, stripe, settings):
    settings.STRIPE_VERIFY_REQUIRED = True
    connection = StripeConnection.objects.create(workspace=workspace, connection_name="Empty")

    body = {"connectionBizId": connection.biz_id, "stripeAccountId": OTHER}
    assert manager.update(body).status_code == 200

    assert stripe.requests == []
    assert outcome_of(connection) == Reply()


def test_account_with_an_unreadable_key_is_saved_as_unverified(manager, verified, stripe):
    set_columns(verified, api_key=b"damaged")

    assert manager.update(NAMED | {"stripeAccountId": OTHER}).status_code == 200

    assert stripe.requests == []
    assert outcome_of(verified) == Reply()


def test_same_unverified_key_gets_a_new_verification_time(manager, connection, stripe):
    key = random_api_key()
    manager.update(NAMED | {"apiKey": key})
    set_columns(connection, verification="unverified", verification_at=None)
    stripe.fails(503)

    assert manager.update(NAMED | {"apiKey": key}).status_code == 200

    assert outcome_of(connection).at is not None


def test_same_verified_key_stays_verified_after_an_inconclusive_reply(manager, connection, stripe):
    key = random_api_key()
    manager.update(NAMED | {"apiKey": key})
    before = outcome_of(connection)
    stripe.fails(503)

    assert manager.update(NAMED | {"apiKey": key}).status_code == 200

    assert outcome_of(connection) == before
    assert before.verification == "verified"


@REQUESTS
@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (NAMED | {"apiKey": "nonsense"}, {}, 400),
        (NAMED | {"apiKey": random_api_key(), "configJson": "{"}, {}, 400),
        ({"connectionBizId": "sc_unknown", "apiKey": random_api_key()}, {}, 404),
        (NAMED | {"apiKey": random_api_key()}, {"If-Match": '"7"'}, 412),
    ],
)
def test_refused_call_sends_no_request(manager, connection, stripe, body, headers, status):
    assert manager.update(body, headers=headers).status_code == status

    assert stripe.requests == []


@REQUESTS
@pytest.mark.parametrize("who", ["viewer", "outsider"])
def test_caller_without_the_permission_sends_no_request(
    request, connection, stripe, who, assert_refused
):
    client = request.getfixturevalue(who)

    assert_refused(client.update(NAMED | {"apiKey": random_api_key()}), 403, "4030")

    assert stripe.requests == []


@REQUESTS
def test_connection_of_another_workspace_sends_no_request(
    outsider, connection, stripe, assert_refused
):
    response = outsider.update(NAMED | {"apiKey": random_api_key()}, "ws_other")

    assert_refused(response, 404, "4040")
    assert stripe.requests == []


@REQUESTS
@pytest.mark.parametrize(
    "changes", [{"apiKey": random_api_key("sk_test_")}, {"stripeAccountId": OTHER}]
)
def test_no_request_is_sent_if_verification_is_off(manager, connection, fake_stripe, changes):
    assert manager.update(NAMED | changes).status_code == 200

    assert fake_stripe.requests == []
    assert outcome_of(connection) == Reply()


def test_changed_outcome_is_recorded_with_the_change(manager, connection, stripe):
    manager.update(NAMED | {"apiKey": random_api_key()})

    changes = LogEntry.objects.get().changes
    assert changes["verification"] == ["unverified", "verified"]
    assert set(changes) == {"api_key", "verification"}


def test_same_outcome_is_not_recorded(manager, verified, stripe):
    manager.update(NAMED | {"apiKey": random_api_key()})

    assert set(LogEntry.objects.get().changes) == {"api_key"}


def test_response_and_version_are_those_without_verification(manager, connection, stripe):
    response = manager.update(NAMED | {"apiKey": random_api_key()}, headers={"If-Match": '"1"'})

    assert response["ETag"] == '"2"'
    assert len(response.json()["data"]) == 11
    assert "verification" not in response.json()["data"]
