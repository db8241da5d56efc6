"""`census_secrets` counts the secrets of each key; the checks at the start do the same."""

import pytest
from cryptography.fernet import Fernet
from django.core.checks import Tags, run_checks

from stripe_connections.models import StripeConnection
from tests.stripe_connections.bulk.conftest import run
from tests.stripe_connections.bulk.test_rotate_secrets import damage


def startup_ids():
    return [message.id for message in run_checks(tags=[Tags.database], databases=["default"])]


@pytest.fixture
def other(workspace, make_connection):
    return make_connection(workspace, "sc_other")


def test_other_keys_can_be_dropped_if_all_secrets_use_the_first(connection, settings):
    result = run("census_secrets")

    assert result.code == 0
    assert result.json["secrets"] == {
        "key 1": 2,
        "key 2": 0,
        "unreadable": 0,
        "plaintext": 0,
        "empty": 0,
    }
    assert result.json["canBeDropped"] == ["key 2"]


def test_command_fails_if_an_old_key_is_in_use(connection, new_key):
    result = run("census_secrets")

    assert (result.code, result.json["secrets"]["key 2"]) == (1, 2)
    assert result.json["stillNeeded"] == ["key 2"]
    assert result.json["canBeDropped"] == ["key 3"]
    assert result.json["examples"] == {"key 2": ["sc_abc123"]}


def test_old_key_can_be_dropped_after_rotation(connection, new_key):
    run("rotate_secrets", "--apply")

    result = run("census_secrets", "--format", "text")

    assert result.code == 0
    assert "key 2 can be removed from FERNET_KEYS." in result.out


@pytest.mark.parametrize(
    ("token", "kind"),
    [
        (b"sk_" + b"live_" + b"a" * 24, "plaintext"),
        (Fernet(Fernet.generate_key()).encrypt(b"x"), "unreadable"),
        (b"", "empty"),
    ],
    ids=["plaintext", "another key", "empty"],
)
def test_undecryptable_secret_is_counted(connection, token, kind):
    damage(connection, token)

    result = run("census_secrets")

    assert result.json["secrets"][kind] == 1
    assert result.code == (kind != "empty")
    assert "a" * 24 not in result.everything


@pytest.mark.only_on("sqlite", reason="a bytea column cannot contain text")
def test_text_in_the_column_is_plaintext(connection):
    damage(connection, "sk_" + "live_" + "a" * 24)

    assert run("census_secrets").json["secrets"]["plaintext"] == 1


def test_missing_secrets_are_empty(workspace):
    StripeConnection.objects.create(workspace=workspace, connection_name="Empty")

    result = run("census_secrets")

    assert (result.code, result.json["secrets"]["empty"]) == (0, 2)


def test_no_key_can_be_dropped_if_connections_are_filtered(connection):
    assert run("census_secrets", "--workspace", "ws_demo").json["canBeDropped"] == []


def test_check_passes_with_the_right_keys(connection):
    assert startup_ids() == []


def test_check_with_the_wrong_keys_is_an_error(connection, settings):
    settings.FERNET_KEYS = [Fernet.generate_key().decode()]

    assert startup_ids() == ["stripe_connections.E010"]


def test_check_with_one_undecryptable_secret_is_a_warning(connection, other):
    damage(other)

    assert startup_ids() == ["stripe_connections.W003"]


def test_check_reports_an_old_key_in_use(connection, new_key):
    assert startup_ids() == ["stripe_connections.I001"]


def test_check_passes_without_tables(db, monkeypatch):
    monkeypatch.setattr(StripeConnection._meta, "db_table", "not_migrated")

    assert startup_ids() == []


@pytest.mark.parametrize("keys", [[], ["no key"]])
def test_check_leaves_missing_keys_to_another_check(connection, settings, keys):
    settings.FERNET_KEYS = keys

    assert startup_ids() == []


def test_check_passes_with_an_empty_database(db):
    assert startup_ids() == []


def test_check_without_a_database_sends_no_query(connection, settings, django_assert_num_queries):
    settings.FERNET_KEYS = [Fernet.generate_key().decode()]

    with django_assert_num_queries(0):
        run_checks()
