"""The result of a verification is reset if the key or the account changes."""

import pytest
from cryptography.fernet import Fernet
from django.db import IntegrityError, transaction
from django.utils import timezone

from stripe_connections import services
from stripe_connections.audit.records import Actor, Source
from stripe_connections.bulk import rotation
from stripe_connections.models import StripeConnection
from stripe_connections.stripe_api.replies import Reply
from tests.conftest import plain, random_api_key
from tests.stripe_connections.bulk.conftest import run

ACTOR = Actor(None, Source.COMMAND, "request-1")
STORED, OTHER = "acct_1234567890", "acct_other"


@pytest.fixture
def set_outcome(connection):
    """Return a function that stores a result and returns the connection."""

    def write(verification="verified", account_id=STORED, **columns):
        StripeConnection.objects.filter(pk=connection.pk).update(
            verification=verification,
            verification_at=timezone.now(),
            verification_account_id=account_id,
            **columns,
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


def test_new_connection_is_unverified(connection):
    assert connection.outcome == Reply("unverified")


@pytest.mark.parametrize("verification", ["verified", "rejected", "restricted"])
@pytest.mark.parametrize(
    "change",
    [{"api_key": random_api_key()}, {"stripe_account_id": OTHER}, {"stripe_account_id": None}],
)
def test_new_key_or_account_resets_the_outcome(set_outcome, verification, change):
    connection = set_outcome(verification)
    assert connection.outcome.verification == verification

    assert update(connection, **change).outcome == Reply()


def test_other_change_keeps_the_outcome(set_outcome):
    before = set_outcome()

    assert update(before, connection_name="New").outcome == before.outcome


@pytest.mark.parametrize("verification", ["verified", "rejected"])
@pytest.mark.parametrize(
    "names", [["api_key"], ["stripe_account_id"], ["api_key", "stripe_account_id"]]
)
def test_same_key_and_account_keep_the_outcome(set_outcome, verification, names):
    before = set_outcome(verification)
    stored = {"api_key": plain(before, "api_key"), "stripe_account_id": STORED}

    after = update(before, **{name: stored[name] for name in names})

    assert after.outcome == before.outcome
    assert after.outcome.verification == verification


@pytest.mark.parametrize(
    "change", [{"api_key": random_api_key()}, {"stripe_account_id": OTHER}], ids=["key", "account"]
)
def test_change_of_only_the_key_or_only_the_account_resets_the_outcome(set_outcome, change):
    before = set_outcome()
    stored = {"api_key": plain(before, "api_key"), "stripe_account_id": STORED}

    assert update(before, **(stored | change)).outcome == Reply()


def test_first_account_resets_the_outcome(set_outcome):
    before = set_outcome("rejected")
    StripeConnection.objects.filter(pk=before.pk).update(stripe_account_id=None)

    assert update(before, stripe_account_id=STORED).outcome == Reply()


def reencrypt_one(connection):
    rotation.reencrypt([connection.pk], ACTOR)


def reencrypt_many(connection):
    run("rotate_secrets", "--apply")


@pytest.fixture(params=[reencrypt_one, reencrypt_many])
def reencrypt(request, settings):
    """Return a function that re-encrypts the secrets with a new first key, in each way."""

    def reencrypted(connection):
        settings.FERNET_KEYS = [Fernet.generate_key().decode(), *settings.FERNET_KEYS]
        request.param(connection)
        return read(connection)

    return reencrypted


def test_reencryption_keeps_the_outcome(set_outcome, reencrypt):
    before = set_outcome()

    after = reencrypt(before)

    assert after.api_key_fingerprint != before.api_key_fingerprint
    assert after.outcome == before.outcome
    assert after.outcome.verification == "verified"


@pytest.mark.parametrize("again", [reencrypt_one, reencrypt_many])
def test_reencryption_of_only_the_webhook_secret_keeps_the_outcome(set_outcome, settings, again):
    settings.FERNET_KEYS = [Fernet.generate_key().decode(), *settings.FERNET_KEYS]
    update(set_outcome(), api_key=random_api_key())
    before = set_outcome()

    again(before)

    after = read(before)
    assert after.webhook_secret_fingerprint != before.webhook_secret_fingerprint
    assert after.outcome == before.outcome
    assert after.outcome.verification == "verified"


@pytest.mark.parametrize(
    "columns",
    [
        {"verification": "good"},
        {"verification": None},
        {"verification": "verified", "verification_account_id": OTHER},
        {"verification": "verified", "verification_account_id": None},
        {
            "verification": "rejected",
            "api_key": None,
            "api_key_hint": None,
            "api_key_fingerprint": None,
            "api_key_replaced_at": None,
        },
    ],
    ids=["unknown", "null", "another account", "no account", "no key"],
)
def test_database_refuses_impossible_outcomes(connection, columns):
    with pytest.raises(IntegrityError), transaction.atomic():
        StripeConnection.objects.update(**columns)
