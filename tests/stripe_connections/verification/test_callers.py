"""Verification by the services: for new connections, and with a reply that the caller passes."""

import pytest
from auditlog.models import LogEntry

from stripe_connections import services
from stripe_connections.audit.records import Actor, Source
from stripe_connections.models import StripeConnection
from stripe_connections.stripe_api import verification
from stripe_connections.stripe_api.replies import Reply
from stripe_connections.stripe_api.verification import (
    VerificationError,
    VerificationUnavailableError,
)
from tests.conftest import random_api_key
from tests.fake_stripe import OTHER, STORED

ACTOR = Actor(None, Source.ADMIN, "request-1")


def create(workspace, **values):
    return services.create_connection(
        workspace=workspace, values={"connection_name": "New"} | values, actor=ACTOR
    )


def update(connection, changes, **options):
    services.update_connection(
        workspace=connection.workspace,
        biz_id=connection.biz_id,
        changes=changes,
        actor=ACTOR,
        **options,
    )
    return StripeConnection.objects.get(pk=connection.pk)


def verify(connection, changes, **options):
    return verification.verify(verification.request_of(connection, changes, **options))


def refusal(field, code):
    """Expect a VerificationError with this field and code."""
    return pytest.raises(VerificationError, check=lambda e: (e.field, e.code) == (field, code))


@pytest.mark.parametrize("account_id", [STORED, None])
def test_key_of_a_new_connection_is_verified(workspace, stripe, account_id):
    key = random_api_key()

    created = create(workspace, api_key=key, stripe_account_id=account_id)

    assert stripe.keys == [key]
    found = StripeConnection.objects.get(pk=created.pk).outcome
    assert (found.verification, found.account_id) == ("verified", STORED)
    assert LogEntry.objects.get().changes["verification"] == [None, "verified"]


def test_new_connection_without_a_key_sends_no_request(workspace, stripe):
    created = create(workspace, stripe_account_id=OTHER)

    assert stripe.requests == []
    assert created.outcome == Reply()
    assert "verification" not in LogEntry.objects.get().changes


@pytest.mark.parametrize(
    ("reply", "field", "code"),
    [
        (("rejects",), "api_key", "rejected_by_stripe"),
        (("knows", STORED), "stripe_account_id", "account_mismatch"),
    ],
)
def test_connection_with_a_bad_key_is_not_created(workspace, stripe, reply, field, code):
    name, *arguments = reply
    getattr(stripe, name)(*arguments)

    with refusal(field, code):
        create(workspace, api_key=random_api_key(), stripe_account_id=OTHER)

    assert not StripeConnection.objects.exists()
    assert not LogEntry.objects.exists()


def test_connection_without_a_reply_is_created_as_unverified_or_refused(
    workspace, stripe, settings
):
    stripe.fails(503)
    assert create(workspace, api_key=random_api_key()).outcome.verification == "unverified"

    settings.STRIPE_VERIFY_REQUIRED = True
    with pytest.raises(VerificationUnavailableError):
        create(workspace, api_key=random_api_key())
    assert StripeConnection.objects.count() == 1


def test_creation_sends_no_request_if_verification_is_off(workspace, fake_stripe):
    created = create(workspace, api_key=random_api_key())

    assert fake_stripe.requests == []
    assert created.outcome == Reply()


def test_update_with_a_reply_sends_no_request(connection, stripe):
    changes = {"api_key": random_api_key()}
    reply = verify(connection, changes)

    updated = update(connection, changes, reply=reply)

    assert len(stripe.requests) == 1
    assert updated.outcome.verification == "verified"


def test_creation_with_a_reply_sends_no_request(workspace, stripe):
    values = {"connection_name": "New", "api_key": random_api_key()}
    reply = verify(StripeConnection(workspace=workspace), values)

    created = services.create_connection(
        workspace=workspace, values=values, actor=ACTOR, reply=reply
    )

    assert len(stripe.requests) == 1
    assert created.outcome.verification == "verified"


def test_update_with_a_rejecting_reply_is_refused(connection, stripe, stored):
    before = stored(connection)
    stripe.rejects()
    changes = {"api_key": random_api_key()}
    reply = verify(connection, changes)

    with refusal("api_key", "rejected_by_stripe"):
        update(connection, changes, reply=reply)

    assert stored(connection) == before


def test_reply_for_another_key_is_ignored(connection, stripe):
    reply = verify(connection, {"api_key": random_api_key()})

    updated = update(connection, {"api_key": random_api_key()}, reply=reply)

    assert updated.outcome.verification == "unverified"


def test_update_with_an_empty_reply_is_unverified(connection, stripe, settings):
    settings.STRIPE_VERIFY_REQUIRED = True

    updated = update(connection, {"api_key": random_api_key()}, reply=Reply())

    assert updated.outcome == Reply()
    assert stripe.requests == []


def test_update_sends_no_request_if_verification_is_off(connection, fake_stripe):
    changes = {"api_key": random_api_key("sk_test_")}

    reply = verify(connection, changes)

    assert reply == Reply()
    assert fake_stripe.requests == []
    assert update(connection, changes, reply=reply).outcome == Reply()


def test_change_of_mode_is_refused_before_the_request(connection, stripe):
    with refusal("api_key", "mode_mismatch"):
        verify(connection, {"api_key": random_api_key("sk_test_")})

    assert stripe.requests == []


def test_change_of_mode_is_refused_by_the_service(connection, stripe, stored):
    before = stored(connection)

    with refusal("api_key", "mode_mismatch"):
        update(connection, {"api_key": random_api_key("sk_test_")}, reply=Reply())

    assert stored(connection) == before


def test_allowed_change_of_mode_is_verified_and_saved(connection, stripe):
    changes = {"api_key": random_api_key("sk_test_")}
    reply = verify(connection, changes, allow_mode_change=True)

    updated = update(connection, changes, reply=reply, allow_mode_change=True)

    assert (updated.mode, updated.outcome.verification) == ("test", "verified")


def test_service_verifies_an_allowed_change_of_mode(connection, stripe):
    updated = update(connection, {"api_key": random_api_key("sk_test_")}, allow_mode_change=True)

    assert (updated.mode, len(stripe.requests)) == ("test", 1)


def test_rejected_key_is_refused_if_a_change_of_mode_is_allowed(connection, stripe):
    stripe.rejects()

    with refusal("api_key", "rejected_by_stripe"):
        update(connection, {"api_key": random_api_key("sk_test_")}, allow_mode_change=True)


def test_errors_do_not_contain_the_key(connection, stripe):
    stripe.rejects()
    key = random_api_key()

    with refusal("api_key", "rejected_by_stripe") as caught:
        update(connection, {"api_key": key})

    assert key not in repr(caught.value) + str(caught.value) + str(caught.getrepr(style="long"))
    assert key not in repr(verify(connection, {"api_key": key}))
