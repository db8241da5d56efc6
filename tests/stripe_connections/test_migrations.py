"""Migration 0008 binds the secrets of older versions to their rows, and can be reversed.

Migration 0009 keeps results of a verification that belong to the stored key and account.
"""

from importlib import import_module

import pytest
from auditlog.models import LogEntry
from cryptography.fernet import Fernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hmac import HMAC
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.core.management import call_command

from stripe_connections.models import SECRET_FIELDS, StripeConnection
from stripe_connections.secrets.columns import secret_columns
from stripe_connections.secrets.keyring import keyring
from tests.conftest import plain, plain_secrets, set_columns
from tests.fake_stripe import OTHER, STORED

pytestmark = pytest.mark.django_db(transaction=True)


def old_fingerprint(secret: str, key: str) -> str:
    """Return the fingerprint of older versions, whose key is derived from the Fernet key's text."""
    info = b"stripe_connections.fingerprint"
    derived = HKDF(algorithm=SHA256(), length=32, salt=None, info=info).derive(key.encode())
    keyed = HMAC(derived, SHA256())
    keyed.update(secret.encode())
    return keyed.finalize().hex()


def migrate_forward() -> None:
    # The check of stored secrets must not stop the migration.
    call_command("migrate", verbosity=0, skip_checks=False)


@pytest.fixture
def made(workspace, make_connection):
    """Five connections; the first one is verified."""
    made = [make_connection(workspace, f"sc_{number}") for number in range(5)]
    verification = {"verification": "verified", "verification_account_id": STORED}
    set_columns(made[0], **verification)
    return made


@pytest.fixture
def secrets(made):
    return [plain_secrets(connection) for connection in made]


@pytest.fixture
def migrated_back(made, secrets, verified, monkeypatch):
    """The database of an older version; the migration converts it in batches of two."""
    migration = import_module("stripe_connections.migrations.0008_bind_secrets")
    monkeypatch.setattr(migration, "BATCH_SIZE", 2)
    call_command("migrate", "stripe_connections", "0007", verbosity=0)
    yield
    migrate_forward()


# The columns of an older version (outcome, account in the reply, current account, current key), and
# the migrated outcome.
OUTCOMES = {
    (None, None, STORED, None): "unverified",
    ("narrow", None, STORED, "same"): "restricted",
    ("narrow", None, STORED, "other"): "unverified",
    ("verified", STORED, STORED, "same"): "verified",
    ("verified", STORED, None, "same"): "verified",
    ("verified", STORED, OTHER, "same"): "unverified",
    ("verified", STORED, STORED, "other"): "unverified",
    ("rejected", None, STORED, "same"): "rejected",
    ("rejected", OTHER, STORED, "same"): "rejected",
    ("rejected", STORED, STORED, "same"): "unverified",
}


@pytest.fixture
def verified(workspace):
    """A connection for each of the OUTCOMES."""
    return [
        StripeConnection.objects.create(
            workspace=workspace, connection_name="One", biz_id=f"sc_v{n}"
        )
        for n in range(len(OUTCOMES))
    ]


def verify_in_an_older_version(connection, outcome, answered, account_id, key):
    key_columns = dict.fromkeys(("api_key_hint", "api_key_fingerprint"), "same")
    set_columns(
        connection,
        **key_columns,
        api_key=b"same",
        api_key_replaced_at="2026-03-21T00:00:00Z",
        stripe_account_id=account_id,
        verification=outcome,
        verification_account_id=answered,
        verification_fingerprint=key,
    )


def now(made):
    return [StripeConnection.objects.get(pk=connection.pk) for connection in made]


def test_secrets_become_unbound_and_bound_again_and_outcomes_are_kept_if_they_still_apply(
    made, secrets, verified, migrated_back, stored, settings, caplog
):
    """One test for many rules, because the migration takes seconds."""
    _, unreadable, retired, bound, empty = made
    assert_older_versions_read(made, secrets, stored, settings.FERNET_KEYS[0])
    set_columns(unreadable, api_key=Fernet(Fernet.generate_key()).encrypt(b"sk_lost"))
    set_columns(retired, api_key=Fernet(settings.FERNET_KEYS[1]).encrypt(b"sk_retired"))
    columns = secret_columns(bound.workspace_id, bound.biz_id, "api_key", secrets[3][0])
    set_columns(bound, api_key=columns["api_key"])
    names = ("api_key", "api_key_hint", "api_key_fingerprint", "api_key_replaced_at")
    set_columns(empty, **dict.fromkeys(names))
    for connection, columns in zip(verified, OUTCOMES, strict=True):
        verify_in_an_older_version(connection, *columns)
    before = [stored(connection) for connection in made]

    migrate_forward()

    assert_bound(now(made), secrets)
    after = [stored(connection) for connection in made]
    # What cannot be read, is bound already or is empty stays as it was.
    assert [after[1][name] for name in names] == [before[1][name] for name in names]
    assert after[3]["api_key"] == before[3]["api_key"]
    assert "11 secrets cannot be read and were left" in caplog.text
    kept = [stored(connection)["verification"] for connection in verified]
    assert dict(zip(OUTCOMES, kept, strict=True)) == OUTCOMES
    assert not LogEntry.objects.exists()


def assert_older_versions_read(made, secrets, stored, key):
    rows = [stored(connection) for connection in made]
    read = [
        tuple(Fernet(key).decrypt(row[name]).decode() for name in SECRET_FIELDS) for row in rows
    ]
    assert read == secrets
    assert rows[0]["api_key_fingerprint"] == old_fingerprint(secrets[0][0], key)
    assert rows[0]["verification_fingerprint"] == rows[0]["api_key_fingerprint"]


def assert_bound(connections, secrets):
    """All secrets are under the first key, with their fingerprints."""
    whole, _, retired, bound, empty = connections
    assert plain_secrets(whole) == secrets[0]
    assert plain(retired, "api_key") == "sk_retired"
    assert retired.api_key.position(retired) == 0
    assert retired.api_key_fingerprint == keyring().fingerprint("sk_retired")
    assert plain_secrets(bound) == secrets[3]
    assert plain_secrets(empty) == (None, secrets[4][1])
    signing = [webhook_secret for _, webhook_secret in secrets]
    assert [plain(one, "webhook_secret") for one in connections] == signing
    assert [one.webhook_secret_fingerprint for one in connections] == [
        keyring().fingerprint(secret) for secret in signing
    ]
    assert [one.outcome.verification for one in connections] == ["verified", *["unverified"] * 4]
