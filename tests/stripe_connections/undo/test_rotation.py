"""Commands rotate, count and check kept secrets, too."""

import pytest

from stripe_connections.bulk.rotation import reencrypt
from stripe_connections.models import ReplacedSecret, StripeConnection
from stripe_connections.secrets.keyring import keyring, secret_context
from tests.stripe_connections.bulk.conftest import new_key, run  # noqa: F401 - a fixture
from tests.stripe_connections.undo.conftest import ACTOR, current, restore


def position():
    row = ReplacedSecret.objects.get()
    return row.secret.position(row.connection)


@pytest.fixture
def retired(replaced, new_key):  # noqa: F811 - the fixture
    """A kept secret under an old key, while the stored secrets are under the first key."""
    connection, old, new = replaced
    reencrypt([connection.pk], ACTOR)
    context = secret_context(connection.workspace_id, connection.biz_id, "api_key")
    ciphertext = keyring().keys[1].fernet(context).encrypt(old.encode())
    ReplacedSecret.objects.update(ciphertext=ciphertext)
    return connection, old, new


def test_rotation_reencrypts_kept_secrets(replaced, new_key):  # noqa: F811 - the fixture
    connection, old, _ = replaced
    assert position() == 1

    result = run("rotate_secrets", "--apply")

    assert result.counts == (1, 0, 0, 0)
    row = ReplacedSecret.objects.get()
    assert (position(), row.fingerprint) == (0, keyring().fingerprint(old))
    restore(connection)
    assert current() == old


def test_connection_is_counted_if_only_its_kept_secret_is_under_an_old_key(retired):
    assert run("rotate_secrets").counts == (1, 0, 0, 0)
    assert run("rotate_secrets", "--apply").counts == (1, 0, 0, 0)
    assert position() == 0
    assert run("rotate_secrets", "--apply").counts == (0, 1, 0, 0)


def test_dry_run_writes_nothing(retired):
    run("rotate_secrets")

    assert position() == 1


def test_service_reencrypts_kept_secrets(retired):
    connection, *_ = retired

    assert reencrypt([connection.pk], ACTOR)[0].is_changed
    assert position() == 0
    assert not reencrypt([connection.pk], ACTOR)[0].is_changed


def test_unreadable_kept_secret_is_reported_by_the_rotation(replaced):
    ReplacedSecret.objects.update(ciphertext=b"damaged")
    result = run("rotate_secrets", "--apply")

    assert result.counts == (0, 0, 0, 1)
    assert "in this row: replaced api_key" in result.json["rows"][0]["error"]


def test_census_counts_kept_secrets(retired):
    result = run("census_secrets")

    assert (result.code, result.json["stillNeeded"]) == (1, ["key 2"])
    assert result.json["secrets"]["key 1"] == 2
    assert result.json["secrets"]["key 2"] == 1


def test_census_counts_unreadable_kept_secrets(replaced):
    ReplacedSecret.objects.update(ciphertext=b"damaged")

    assert run("census_secrets").code == 1


@pytest.mark.parametrize(
    ("columns", "code"),
    [
        ({}, None),
        ({"ciphertext": b"damaged"}, "undecryptable"),
        ({"hint": "sk_live_…"}, "hint"),
        ({"fingerprint": "0" * 64}, "fingerprint"),
    ],
)
def test_kept_secrets_are_checked(replaced, columns, code):
    ReplacedSecret.objects.update(field="api_key", **columns)
    result = run("check_connections")

    found = [(row["field"], row["code"]) for row in result.json["rows"]]
    assert found == ([("replaced apiKey", code)] if code else [])


def test_rotation_keeps_version_and_etag(replaced, new_key):  # noqa: F811 - the fixture
    run("rotate_secrets", "--apply")

    assert StripeConnection.objects.get().version == 2
