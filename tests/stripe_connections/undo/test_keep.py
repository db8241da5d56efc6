"""How replaced secrets are kept, how long, and how they are deleted."""

from datetime import timedelta

import pytest
from django.core.management import call_command
from django.utils import timezone

from config.delete_expired import DELETED_ROWS
from stripe_connections.models import ReplacedSecret, StripeConnection
from stripe_connections.secrets.keyring import keyring
from stripe_connections.undo import replaced as replaced_secrets
from stripe_connections.undo.replaced import RestoreError
from tests.conftest import plain, plain_secrets, random_api_key
from tests.stripe_connections.undo.conftest import ACTOR, MAKE, age, keep, replace, restore

DAY = timedelta(days=1)


@pytest.mark.parametrize("name", MAKE)
def test_replaced_secret_is_kept(connection, name):
    old = StripeConnection.objects.get()
    text = plain(old, name)
    replace(connection, **{name: MAKE[name]()})

    row = ReplacedSecret.objects.get()
    assert (row.connection, row.field, row.version) == (connection, name, 2)
    assert (row.hint, row.fingerprint) == (f"{old.shown(name)}", keyring().fingerprint(text))
    assert (row.username, row.request_id, row.is_restore) == (None, ACTOR.request_id, False)
    assert abs(row.replaced_at - timezone.now()) < timedelta(minutes=1)
    assert row.secret.reveal(connection) == text


def test_kept_secret_has_the_user_and_the_request_id(manager, connection):
    body = {"connectionBizId": "sc_abc123", "apiKey": random_api_key()}
    manager.update(body, headers={"X-Request-Id": "request-7"})

    row = ReplacedSecret.objects.get()
    assert (row.username, row.request_id) == ("manager", "request-7")


def test_both_secrets_of_one_update_are_kept(connection):
    before = plain_secrets(StripeConnection.objects.get())
    replace(connection, **{name: make() for name, make in MAKE.items()})

    rows = ReplacedSecret.objects.order_by("field")
    assert tuple(row.secret.reveal(connection) for row in rows) == before
    assert {row.version for row in rows} == {2}


@pytest.mark.parametrize(
    "changes", [{"connection_name": "New"}, {"stripe_account_id": "acct_new"}, {}]
)
def test_update_of_other_fields_keeps_nothing(connection, changes):
    replace(connection, **changes)

    assert not ReplacedSecret.objects.exists()


def test_same_secret_written_again_is_not_kept(replaced):
    connection, _, new = replaced
    replace(connection, api_key=new)

    assert ReplacedSecret.objects.count() == 1


def test_first_secret_of_a_connection_keeps_nothing(workspace):
    connection = StripeConnection.objects.create(workspace=workspace, connection_name="Empty")
    replace(connection, api_key=random_api_key())

    assert not ReplacedSecret.objects.exists()


def test_nothing_is_kept_or_restored_with_zero_days(replaced, settings):
    connection, *_ = replaced
    settings.SECRET_UNDO_DAYS = 0
    replace(connection, api_key=random_api_key())

    assert ReplacedSecret.objects.count() == 1
    with pytest.raises(RestoreError):
        restore(connection)


@pytest.mark.parametrize(("days", "is_kept"), [(6, True), (8, False)])
def test_kept_secret_expires(replaced, days, is_kept):
    age(days * DAY)
    call_command("delete_replaced_secrets")

    assert ReplacedSecret.objects.exists() == is_kept


def test_clock_of_one_machine_that_is_ahead_deletes_nothing(replaced, monkeypatch):
    ahead = timezone.now() + 3_650 * DAY
    monkeypatch.setattr("stripe_connections.undo.replaced.timezone.now", lambda: ahead)
    call_command("delete_replaced_secrets")

    assert ReplacedSecret.objects.exists()


def test_refused_update_keeps_nothing(connection, stored):
    with pytest.raises(TypeError):
        replace(connection, api_key=random_api_key(), webhook_secret=4711)

    assert not ReplacedSecret.objects.exists()


def test_kept_ciphertext_is_the_stored_one(connection, stored):
    before = stored(connection)["api_key"]
    replace(connection, api_key=random_api_key())

    assert bytes(ReplacedSecret.objects.get().ciphertext) == before


def test_replacements_delete_expired_secrets_every_ten_minutes(connection, ten_minutes_later):
    keep(connection, 3, timezone.now() - 8 * DAY)
    replace(connection, api_key=random_api_key())
    assert ReplacedSecret.objects.count() == 4

    ten_minutes_later(replaced_secrets)
    replace(connection, api_key=random_api_key())

    assert sorted(row.version for row in ReplacedSecret.objects.all()) == [2, 3]


def test_more_expired_secrets_than_a_transaction_deletes_are_deleted(connection, capsys):
    expired = 2 * DELETED_ROWS + 1
    keep(connection, expired, timezone.now() - 8 * DAY)
    replace(connection, api_key=random_api_key())

    call_command("delete_replaced_secrets")

    assert [row.version for row in ReplacedSecret.objects.all()] == [2]
    assert capsys.readouterr().out == f"{expired} replaced secrets deleted.\n"
