"""Services: create a connection, and re-encrypt its secrets."""

import pytest
from auditlog.models import LogEntry
from cryptography.fernet import Fernet
from django.db import IntegrityError, transaction

from stripe_connections import services
from stripe_connections.audit.records import Actor, Source
from stripe_connections.bulk.rotation import reencrypt
from stripe_connections.models import StripeConnection
from stripe_connections.secrets.keyring import keyring
from tests.conftest import plain, plain_secrets, random_api_key, random_webhook_secret, set_columns

ACTOR = Actor(None, Source.COMMAND, "request-1")


def last_record() -> LogEntry:
    return LogEntry.objects.order_by("pk").last()


def secrets_of(connection):
    return StripeConnection.objects.defer(None).get(pk=connection.pk)


@pytest.fixture
def new_key(settings, connection):
    """A new first key; the secrets of `connection` are encrypted with the previous one."""
    settings.FERNET_KEYS = [Fernet.generate_key().decode(), *settings.FERNET_KEYS]


def test_created_connection_has_the_given_values(workspace):
    secret = random_api_key()

    created = services.create_connection(
        workspace=workspace, values={"connection_name": "New", "api_key": secret}, actor=ACTOR
    )

    saved = secrets_of(created)
    assert (saved.connection_name, plain(saved, "api_key"), saved.version) == ("New", secret, 1)
    assert saved.api_key_fingerprint == keyring().fingerprint(secret)
    assert saved.biz_id.startswith("sc_")


def test_new_connections_are_saved_all_or_none(workspace):
    new = [StripeConnection(workspace=workspace, biz_id="sc_given") for _ in range(2)]
    rows = [services.NewConnection(row, {"connection_name": "New"}) for row in new]

    with pytest.raises(IntegrityError), transaction.atomic():
        services.create_connections(rows, ACTOR)
    services.create_connections(rows[:1], ACTOR)

    assert StripeConnection.objects.get().biz_id == "sc_given"
    assert LogEntry.objects.get().object_repr == "sc_given"


def test_creation_is_recorded_without_its_secrets(workspace):
    secret = random_api_key()

    created = services.create_connection(
        workspace=workspace, values={"connection_name": "New", "api_key": secret}, actor=ACTOR
    )

    record = last_record()
    assert (record.action, record.object_id) == (LogEntry.Action.CREATE, created.pk)
    assert record.changes == {
        "connection_name": [None, "New"],
        "api_key": [None, f"replaced {created.api_key_hint}"],
    }
    assert record.additional_data["source"] == "command"
    assert record.cid == "request-1"


def test_creation_with_an_unknown_name_writes_nothing(workspace):
    with pytest.raises(ValueError, match="version"):
        services.create_connection(
            workspace=workspace, values={"connection_name": "New", "version": 7}, actor=ACTOR
        )

    assert not StripeConnection.objects.exists()


def test_creation_that_cannot_be_recorded_is_undone(workspace, no_records):
    with pytest.raises(IntegrityError, match="records"):
        services.create_connection(
            workspace=workspace, values={"connection_name": "New"}, actor=ACTOR
        )

    assert not StripeConnection.objects.exists()


def test_reencryption_uses_the_first_key(workspace, connection, new_key):
    before = secrets_of(connection)

    (row,) = reencrypt([connection.pk], ACTOR)

    after = StripeConnection.objects.get(pk=connection.pk)
    assert row.is_changed
    assert plain_secrets(after) == plain_secrets(before)
    assert after.api_key.position(after) == 0
    assert after.webhook_secret.position(after) == 0
    assert after.api_key_fingerprint == keyring().fingerprint(plain(before, "api_key"))


def test_reencryption_changes_only_ciphertexts_and_fingerprints(
    connection, workspace, new_key, stored
):
    hidden = {"api_key", "api_key_fingerprint", "webhook_secret", "webhook_secret_fingerprint"}
    before = stored(connection)

    reencrypt([connection.pk], ACTOR)

    after = stored(connection)
    assert {name for name in after if after[name] != before[name]} == hidden


def test_reencryption_is_recorded(connection, workspace, new_key):
    reencrypt([connection.pk], ACTOR)

    hints = connection.api_key_hint, connection.webhook_secret_hint
    assert last_record().changes == {
        "api_key": [hints[0], f"re-encrypted {hints[0]}"],
        "webhook_secret": [hints[1], f"re-encrypted {hints[1]}"],
    }


def test_secrets_under_the_first_key_are_not_reencrypted(connection, workspace, stored):
    before = stored(connection)

    (row,) = reencrypt([connection.pk], ACTOR)

    assert not row.is_changed
    assert stored(connection) == before
    assert not LogEntry.objects.exists()


def test_only_the_secret_under_an_old_key_is_reencrypted(connection, workspace, new_key, stored):
    services.update_connection(
        workspace=workspace,
        biz_id="sc_abc123",
        changes={"api_key": random_api_key()},
        actor=ACTOR,
    )
    before = stored(connection)

    reencrypt([connection.pk], ACTOR)

    after = stored(connection)
    assert after["api_key"] == before["api_key"]
    assert after["webhook_secret"] != before["webhook_secret"]


@pytest.mark.parametrize(
    ("absent", "present"), [("api_key", "webhook_secret"), ("webhook_secret", "api_key")]
)
def test_absent_secret_stays_absent_when_the_other_is_reencrypted(
    connection, workspace, new_key, stored, absent, present
):
    columns = absent, f"{absent}_hint", f"{absent}_fingerprint", f"{absent}_replaced_at"
    set_columns(connection, **dict.fromkeys(columns))
    before = stored(connection)

    (row,) = reencrypt([connection.pk], ACTOR)

    after = stored(connection)
    assert row.is_changed
    assert [after[column] for column in columns] == [None] * 4
    assert after[present] != before[present]
    assert last_record().changes.keys() == {present}


def test_undecryptable_secret_is_reported_and_the_other_reencrypted(
    connection, workspace, new_key, stored
):
    set_columns(connection, api_key=b"damaged")
    before = stored(connection)

    (row,) = reencrypt([connection.pk], ACTOR)

    after = stored(connection)
    assert (row.is_changed, row.unreadable) == (True, ["api_key"])
    assert after["api_key"] == before["api_key"]
    assert after["webhook_secret"] != before["webhook_secret"]


def test_unknown_connection_is_not_reencrypted(connection):
    assert reencrypt([connection.pk + 1], ACTOR) == []
    assert not LogEntry.objects.exists()


def test_position_of_a_key_is_found_by_the_signature(settings, new_key):
    secret, context = random_webhook_secret().encode(), b"here"
    ring = keyring()

    positions = [ring.position_of(k.fernet(context).encrypt(secret), context) for k in ring.keys]
    ciphertext = ring.keys[0].fernet(context).encrypt(secret)

    assert positions == [0, 1, 2]
    assert ring.position_of(ciphertext, b"elsewhere") is None
    assert ring.position_of(Fernet(Fernet.generate_key()).encrypt(secret), context) is None
    assert ring.position_of(ciphertext[:-1], context) is None
    assert ring.position_of(b"", context) is None
