"""Migration 0008 binds the secrets of older versions to their rows, and can be reversed."""

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
def three(workspace, make_connection):
    """Three connections; the first one is verified."""
    made = [make_connection(workspace, f"sc_{number}") for number in range(3)]
    verification = {"verification": "verified", "verification_account_id": "acct_1234567890"}
    set_columns(made[0], **verification)
    return made


@pytest.fixture
def secrets(three):
    return [plain_secrets(connection) for connection in three]


@pytest.fixture
def migrated_back(three, secrets, monkeypatch):
    """The database of an older version; the migration converts it in batches of two."""
    migration = import_module("stripe_connections.migrations.0008_bind_secrets")
    monkeypatch.setattr(migration, "BATCH_SIZE", 2)
    call_command("migrate", "stripe_connections", "0007", verbosity=0)
    yield
    migrate_forward()


def now(three):
    return [StripeConnection.objects.get(pk=connection.pk) for connection in three]


def test_older_versions_can_read_the_secrets_after_a_reverse(
    three, secrets, migrated_back, stored, settings
):
    key = settings.FERNET_KEYS[0]
    rows = [stored(connection) for connection in three]

    read = [
        tuple(Fernet(key).decrypt(row[name]).decode() for name in SECRET_FIELDS) for row in rows
    ]
    assert read == secrets
    assert rows[0]["api_key_fingerprint"] == old_fingerprint(secrets[0][0], key)
    assert rows[0]["verification_fingerprint"] == rows[0]["api_key_fingerprint"]


def test_secrets_and_fingerprints_are_converted(three, secrets, migrated_back):
    migrate_forward()

    assert [plain_secrets(connection) for connection in now(three)] == secrets
    assert [one.webhook_secret_fingerprint for one in now(three)] == [
        keyring().fingerprint(webhook_secret) for _, webhook_secret in secrets
    ]
    assert [one.outcome.verification for one in now(three)] == ["verified", *["unverified"] * 2]
    assert not LogEntry.objects.exists()


def test_secret_under_an_old_key_is_encrypted_with_the_first_key(three, migrated_back, settings):
    token = Fernet(settings.FERNET_KEYS[1]).encrypt(b"sk_retired")
    set_columns(three[1], api_key=token)
    migrate_forward()

    connection = now(three)[1]
    assert plain(connection, "api_key") == "sk_retired"
    assert connection.api_key.position(connection) == 0
    assert connection.api_key_fingerprint == keyring().fingerprint("sk_retired")


def test_unreadable_secret_is_left_and_counted(three, secrets, migrated_back, stored, caplog):
    set_columns(three[1], api_key=Fernet(Fernet.generate_key()).encrypt(b"sk_lost"))
    before = stored(three[1])
    migrate_forward()

    after = stored(three[1])
    assert [after[name] for name in ("api_key", "api_key_fingerprint")] == [
        before[name] for name in ("api_key", "api_key_fingerprint")
    ]
    assert plain(now(three)[1], "webhook_secret") == secrets[1][1]
    assert "1 secrets cannot be read and were left" in caplog.text


def test_bound_secret_is_not_changed(three, secrets, migrated_back, stored, caplog):
    connection = three[2]
    bound = secret_columns(connection.workspace_id, "sc_2", "api_key", secrets[2][0])
    set_columns(connection, api_key=bound["api_key"])
    before = stored(connection)["api_key"]
    migrate_forward()

    assert stored(connection)["api_key"] == before
    assert "cannot be read" not in caplog.text


def test_empty_secrets_stay_empty(three, secrets, migrated_back):
    columns = ("api_key", "api_key_hint", "api_key_fingerprint", "api_key_replaced_at")
    set_columns(three[1], **dict.fromkeys(columns))
    migrate_forward()

    assert plain_secrets(now(three)[1]) == (None, secrets[1][1])
