"""`services.restore_secret` writes a replaced secret back."""

from datetime import timedelta

import pytest
from auditlog.models import LogEntry

from stripe_connections import services
from stripe_connections.models import ReplacedSecret, StripeConnection
from stripe_connections.secrets.columns import hint_of
from stripe_connections.stripe_api.verification import VerificationError
from stripe_connections.undo.replaced import RestoreError
from tests.conftest import random_api_key, set_columns
from tests.fake_stripe import OTHER
from tests.stripe_connections.undo.conftest import (
    ACTOR,
    MAKE,
    age,
    current,
    replace,
    restore,
)


@pytest.mark.parametrize("name", MAKE)
def test_restored_secret_is_a_new_version(connection, name):
    old = current(name)
    replace(connection, **{name: MAKE[name]()})
    restored = restore(connection, name)

    stored = StripeConnection.objects.get()
    assert current(name) == old
    assert (restored.version, stored.version) == (3, 3)
    assert stored.shown(name) == hint_of(old)


def test_restore_is_recorded(replaced):
    connection, old, new = replaced
    restore(connection)

    record = LogEntry.objects.latest("pk")
    assert record.changes == {"api_key": [hint_of(new), f"restored {hint_of(old)}"]}
    assert record.additional_data["version"] == 3
    assert record.cid == ACTOR.request_id


def test_second_restore_is_refused(replaced, stored):
    connection, *_ = replaced
    restore(connection)
    before = stored(connection)

    with pytest.raises(RestoreError, match="in use again"):
        restore(connection)
    assert stored(connection) == before


def test_replacement_after_a_restore_can_be_undone(replaced):
    connection, old, _ = replaced
    restore(connection)
    replace(connection, api_key=random_api_key())
    restore(connection)

    assert current() == old


def test_secret_replaced_by_a_restore_can_be_restored_by_its_version(replaced):
    connection, _, new = replaced
    restore(connection)
    restore(connection, version=3)

    assert current() == new


def test_restore_without_a_replaced_secret_is_refused(connection):
    with pytest.raises(RestoreError) as caught:
        restore(connection)

    assert caught.value.code == "not_found"


def test_expired_secret_is_not_restored(replaced):
    connection, *_ = replaced
    age(timedelta(days=8))

    with pytest.raises(RestoreError):
        restore(connection)


def test_secret_of_another_connection_is_not_restored(replaced, workspace, make_connection):
    other = make_connection(workspace, "sc_other")

    with pytest.raises(RestoreError):
        restore(other, version=2)


def test_secret_moved_to_another_connection_is_undecryptable(replaced, workspace, make_connection):
    other = make_connection(workspace, "sc_other")
    ReplacedSecret.objects.update(connection=other)

    with pytest.raises(RestoreError) as caught:
        restore(other)
    assert caught.value.code == "unreadable"


def test_connection_of_another_workspace_is_not_found(replaced, sibling_workspace):
    with pytest.raises(services.ConnectionNotFoundError):
        services.restore_secret(
            workspace=sibling_workspace, biz_id="sc_abc123", name="api_key", actor=ACTOR
        )


def test_unexpected_version_is_refused(replaced):
    connection, _, new = replaced

    with pytest.raises(services.VersionConflictError):
        restore(connection, expected_versions={1})
    assert current() == new


def test_secret_whose_key_was_removed_is_reported(replaced, settings, stored):
    connection, *_ = replaced
    settings.FERNET_KEYS = settings.FERNET_KEYS[1:]
    before = stored(connection)

    with pytest.raises(RestoreError, match="No key of FERNET_KEYS can decrypt") as caught:
        restore(connection)
    assert caught.value.code == "unreadable"
    assert stored(connection) == before


def test_secret_is_restored_after_its_key_was_added_again(replaced, settings):
    connection, old, _ = replaced
    ring = settings.FERNET_KEYS
    settings.FERNET_KEYS = ring[1:]
    replace(connection, api_key=random_api_key())
    settings.FERNET_KEYS = ring
    restore(connection, version=2)

    assert current() == old


def test_restored_secret_is_verified(replaced, stripe):
    connection, old, _ = replaced
    restored = restore(connection)

    assert stripe.keys == [old]
    assert restored.outcome.verification == "verified"


def test_secret_that_stripe_rejects_is_not_restored(replaced, stripe, stored):
    connection, *_ = replaced
    before = stored(connection)
    stripe.rejects()

    with pytest.raises(VerificationError):
        restore(connection)
    assert stored(connection) == before


def test_live_key_is_restored_after_a_test_key(connection, stripe):
    old = current()
    services.update_connection(
        workspace=connection.workspace,
        biz_id="sc_abc123",
        changes={"api_key": random_api_key("sk_test_")},
        actor=ACTOR,
        allow_mode_change=True,
    )
    restore(connection)

    assert current() == old


def test_key_of_another_account_is_not_restored(replaced, stripe, stored):
    """The restored key belongs to the previous account."""
    connection, *_ = replaced
    set_columns(connection, stripe_account_id=OTHER)
    before = stored(connection)

    with pytest.raises(VerificationError) as caught:
        restore(connection)
    assert (caught.value.field, caught.value.code) == ("stripe_account_id", "account_mismatch")
    assert stored(connection) == before


def test_key_restored_after_a_change_of_account_is_unverified_without_stripe(replaced):
    connection, old, _ = replaced
    replace(connection, stripe_account_id=OTHER)
    restore(connection)

    stored = StripeConnection.objects.get()
    assert (current(), stored.outcome.verification) == (old, "unverified")
