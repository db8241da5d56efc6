"""Restoring a replaced secret from the history."""

import pytest
from django.urls import reverse

from stripe_connections.models import ReplacedSecret, StripeConnection
from tests.conftest import random_api_key
from tests.stripe_connections.admin.conftest import history_url, messages, text
from tests.stripe_connections.undo.conftest import current, replace, replaced, restore

__all__ = ["replaced"]

ONE_DATABASE = pytest.mark.only_on("sqlite", reason="tests/stripe_connections/undo/ runs on both")


def restore_url(connection, version=2, name="api_key"):
    arguments = [connection.pk, version, name]
    return reverse("admin:stripe_connections_stripeconnection_restore", args=arguments)


def confirm(client, connection, seen=2, **which):
    data = {"seen_version": seen}
    return client.post(restore_url(connection, **which), data)


@ONE_DATABASE
def test_history_has_a_button_for_a_replaced_secret(staff, replaced):
    connection, *_ = replaced

    assert restore_url(connection) in text(staff.get(history_url(connection)))


@ONE_DATABASE
def test_history_has_no_button_for_a_secret_that_is_in_use_again(staff, replaced):
    connection, *_ = replaced
    restore(connection)
    page = text(staff.get(history_url(connection)))

    assert restore_url(connection) not in page
    assert restore_url(connection, version=3) in page


@ONE_DATABASE
@pytest.mark.parametrize("who", ["colleague", "support"])
def test_user_without_permission_gets_no_button_and_no_page(request, who, replaced):
    client, (connection, _, new) = request.getfixturevalue(who), replaced

    assert restore_url(connection) not in text(client.get(history_url(connection)))
    assert client.get(restore_url(connection)).status_code == 403
    assert confirm(client, connection).status_code == 403
    assert current() == new


@ONE_DATABASE
def test_page_for_confirmation_writes_nothing(staff, replaced):
    connection, old, new = replaced
    page = text(staff.get(restore_url(connection)))

    assert f"sk_live_…{old[-4:]}" in page
    assert old not in page
    assert new not in page
    assert current() == new


def test_confirmed_secret_is_restored(staff, replaced):
    connection, old, _ = replaced
    response = confirm(staff, connection)

    assert messages(response) == ["1 secret restored."]
    assert (current(), StripeConnection.objects.get().version) == (old, 3)
    [entry, *_] = staff.peek(response["Location"])["entries"]
    assert (entry.username, entry.source) == ("staff", "admin")
    assert entry.changes[0].new == f"restored sk_live_…{old[-4:]}"


@ONE_DATABASE
def test_older_secret_is_restored_from_its_entry(staff, replaced):
    connection, old, _ = replaced
    replace(connection, api_key=random_api_key())
    confirm(staff, connection, seen=3, version=2)

    assert current() == old


def test_connection_that_was_changed_meanwhile_is_not_restored(staff, replaced):
    connection, _, new = replaced
    wrong = "1", "3", "-2", "", "x", "²", "9" * 30, "9" * 5_000

    found = {messages(confirm(staff, connection, seen=seen))[-1] for seen in wrong}

    assert found == {"1 failed: sc_abc123 (try again)."}
    assert current() == new


@ONE_DATABASE
def test_unreadable_secret_is_reported(staff, replaced):
    connection, *_ = replaced
    ReplacedSecret.objects.update(ciphertext=b"damaged")

    assert "No key of FERNET_KEYS can decrypt" in messages(confirm(staff, connection))[0]


@ONE_DATABASE
def test_secret_that_stripe_rejects_is_reported(staff, replaced, stripe):
    connection, _, new = replaced
    stripe.rejects()

    assert messages(confirm(staff, connection))[0].startswith("1 failed: sc_abc123 (")
    assert current() == new


@pytest.mark.parametrize(
    "which", [{"version": 9}, {"name": "webhook_secret"}, {"name": "x"}, {"version": 10**30}]
)
def test_secret_that_is_not_kept_has_no_page(staff, replaced, which):
    connection, *_ = replaced

    assert staff.get(restore_url(connection, **which)).status_code == 404
