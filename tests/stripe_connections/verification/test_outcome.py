"""What Stripe said counts for the key and the account it was said of, and for no other."""

from itertools import product

import pytest
from cryptography.fernet import Fernet
from django.db import IntegrityError, transaction
from django.utils import timezone

from stripe_connections import services
from stripe_connections.audit.records import Actor, Source
from stripe_connections.models import Outcome, StripeConnection, Verification, with_verification
from tests.conftest import random_api_key

ACTOR = Actor(None, Source.COMMAND, "request-1")
STORED, OTHER = "acct_1234567890", "acct_other"


@pytest.fixture
def said(connection):
    """Write that Stripe said so of the connection's key; gives the connection as it is then."""

    def write(verification="verified", account_id=STORED, **columns):
        StripeConnection.objects.filter(pk=connection.pk).update(
            **{
                "verification": verification,
                "verification_at": timezone.now(),
                "verification_fingerprint": connection.api_key_fingerprint,
                "verification_account_id": account_id,
            }
            | columns
        )
        return read(connection)

    return write


def read(connection):
    return StripeConnection.objects.get(pk=connection.pk)


def update(connection, **changes):
    services.update_connection(
        workspace=connection.workspace, biz_id=connection.biz_id, changes=changes, actor=ACTOR
    )
    return read(connection)


def test_connection_that_nobody_asked_about_is_unverified(connection):
    assert connection.outcome == Outcome("unverified", None, None, None)


def test_outcome_tells_what_was_said_and_when(said):
    at = timezone.now()

    found = said(
        "narrow", None, verification_at=at, missing_permission="rak_accounts_kyc_basic_read"
    )

    assert found.outcome == ("narrow", at, None, "rak_accounts_kyc_basic_read")


@pytest.mark.parametrize("verification", ["verified", "rejected", "narrow"])
def test_another_key_is_unverified(said, verification):
    connection = said(verification, None if verification == "rejected" else STORED)
    assert connection.outcome.verification == verification

    assert update(connection, api_key=random_api_key()).outcome == Outcome()


@pytest.mark.parametrize(
    ("verification", "answered", "stored_account", "expected"),
    [
        ("verified", STORED, STORED, "verified"),
        ("verified", STORED, None, "verified"),
        ("verified", STORED, OTHER, "unverified"),
        ("rejected", None, STORED, "rejected"),
        ("rejected", None, OTHER, "rejected"),
        ("rejected", None, None, "rejected"),
        ("rejected", STORED, OTHER, "rejected"),
        ("rejected", STORED, STORED, "unverified"),
        ("rejected", STORED, None, "unverified"),
        ("narrow", None, STORED, "narrow"),
        ("narrow", None, OTHER, "narrow"),
        ("narrow", None, None, "narrow"),
    ],
)
def test_outcome_is_of_the_account_that_is_stored(
    said, verification, answered, stored_account, expected
):
    connection = said(verification, answered, stripe_account_id=stored_account)

    assert connection.outcome.verification == expected


def test_change_of_the_account_takes_the_outcome_along(said):
    assert update(said(), stripe_account_id=OTHER).outcome == Outcome()


@pytest.mark.parametrize("changes", [{"connection_name": "New"}, {"stripe_account_id": STORED}])
def test_other_change_keeps_the_outcome(said, changes):
    assert update(said(), **changes).outcome.verification == "verified"


def test_lists_find_by_the_outcome_that_each_connection_shows(workspace, make_connection):
    accounts = (None, STORED, OTHER)
    verifications = (None, *Verification.values)
    for number, (verification, answered, stored_account, key) in enumerate(
        product(verifications, accounts, accounts, (None, "same", "another"))
    ):
        made = make_connection(workspace, f"sc_{number}", stripe_account_id=stored_account)
        fingerprint = {"same": made.api_key_fingerprint, "another": "0" * 64}.get(key)
        StripeConnection.objects.filter(pk=made.pk).update(
            verification=verification,
            verification_account_id=answered,
            verification_fingerprint=fingerprint,
        )
    StripeConnection.objects.create(workspace=workspace, connection_name="Without a key")
    shown = {
        verification: {
            c.biz_id for c in StripeConnection.objects.all() if c.outcome[0] == verification
        }
        for verification in Verification.values
    }

    found = {
        verification: set(
            StripeConnection.objects.filter(with_verification(verification)).values_list(
                "biz_id", flat=True
            )
        )
        for verification in Verification.values
    }

    assert found == shown
    assert all(shown.values())
    assert sum(map(len, found.values())) == StripeConnection.objects.count()


def reencrypt_one(connection):
    services.reencrypt_connection(
        workspace=connection.workspace, biz_id=connection.biz_id, actor=ACTOR
    )


def reencrypt_many(connection):
    services.reencrypt_connections([connection.pk], actor=ACTOR)


@pytest.fixture(params=[reencrypt_one, reencrypt_many])
def reencrypt(request, settings):
    """Each way of re-encryption, after a new key has come in front of the ring."""

    def run(connection):
        settings.FERNET_KEYS = [Fernet.generate_key().decode(), *settings.FERNET_KEYS]
        request.param(connection)
        return read(connection)

    return run


def test_reencryption_keeps_the_outcome(said, reencrypt):
    before = said()

    after = reencrypt(before)

    assert after.api_key_fingerprint != before.api_key_fingerprint
    assert after.outcome == before.outcome
    assert after.outcome.verification == "verified"


@pytest.mark.parametrize("fingerprint", [None, "0" * 64])
def test_reencryption_makes_no_outcome_of_another_keys(said, reencrypt, fingerprint):
    after = reencrypt(said(verification_fingerprint=fingerprint))

    assert after.verification_fingerprint == fingerprint
    assert after.outcome == Outcome()


@pytest.mark.parametrize("again", [reencrypt_one, reencrypt_many])
def test_reencryption_of_the_other_secret_alone_keeps_the_outcome(said, settings, again):
    settings.FERNET_KEYS = [Fernet.generate_key().decode(), *settings.FERNET_KEYS]
    replaced = update(said(), api_key=random_api_key())
    before = said(verification_fingerprint=replaced.api_key_fingerprint)

    again(before)

    after = read(before)
    assert after.webhook_secret_fingerprint != before.webhook_secret_fingerprint
    assert after.outcome == before.outcome
    assert after.outcome.verification == "verified"


def test_database_refuses_an_outcome_that_is_none(connection):
    with pytest.raises(IntegrityError), transaction.atomic():
        StripeConnection.objects.update(verification="good")
