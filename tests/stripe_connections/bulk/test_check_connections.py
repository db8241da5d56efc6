"""`check_connections` finds invalid data and writes nothing."""

import pytest
from cryptography.fernet import Fernet
from django.db import connection as database

from tests.conftest import random_api_key, set_columns
from tests.stripe_connections.bulk.conftest import run


def findings(result):
    return [(row["bizId"], row["field"], row["code"]) for row in result.json["rows"]]


@pytest.fixture
def valid(workspace, make_connection):
    return make_connection(workspace, "sc_sound")


@pytest.fixture
def unconstrained(connection):
    """The table without its constraint on names."""
    with database.cursor() as cursor:
        if database.vendor == "sqlite":
            cursor.execute("PRAGMA ignore_check_constraints = on")
            yield
            cursor.execute("PRAGMA ignore_check_constraints = off")
        else:
            # Otherwise the pending checks of this transaction prevent ALTER TABLE.
            cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
            cursor.execute(
                "ALTER TABLE stripe_connections_stripeconnection "
                "DROP CONSTRAINT connection_name_length"
            )
            yield


def test_valid_connections_pass(connection, valid):
    result = run("check_connections")

    assert (result.code, result.counts, findings(result)) == (0, (0, 2, 0, 0), [])


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"api_key": b"gAAAAAno"}, ("apiKey", "undecryptable")),
        ({"webhook_secret": b""}, ("webhookSecret", "undecryptable")),
        # The digits of a random key are hexadecimal.
        ({"api_key_hint": "sk_live_…zzzz"}, ("apiKey", "hint")),
        ({"api_key_fingerprint": "0" * 64}, ("apiKey", "fingerprint")),
        ({"config_json": "{'a'}"}, ("configJson", "not_json")),
        ({"config_json": '{"a": 1, "a": 2}'}, ("configJson", "not_json")),
        ({"partner_endpoint": "https://10.0.0.1/"}, ("partnerEndpoint", "host_not_public")),
        ({"partner_endpoint": "https://x.internal/"}, ("partnerEndpoint", "host_not_public")),
        ({"stripe_account_id": "acct_-"}, ("stripeAccountId", "not_an_account_id")),
        ({"connection_name": "a\x07"}, ("connectionName", "control_characters")),
    ],
    ids=[str(n) for n in range(10)],
)
def test_invalid_value_is_found(connection, valid, stored, columns, expected):
    set_columns(connection, **columns)
    before = stored(connection)

    result = run("check_connections")

    assert (result.code, result.counts) == (1, (0, 1, 0, 1))
    assert findings(result) == [("sc_abc123", *expected)]
    assert stored(connection) == before


def test_fingerprint_of_another_key_is_found(connection, settings):
    settings.FERNET_KEYS = [Fernet.generate_key().decode(), *settings.FERNET_KEYS]
    connection.api_key = random_api_key()
    connection.save(update_fields=["api_key"])

    result = run("check_connections")

    assert ("sc_abc123", "apiKey", "fingerprint") in findings(result)


def test_secret_under_an_old_key_passes(connection, new_key):
    assert run("check_connections").code == 0


def test_row_that_violates_a_constraint_is_found(connection, valid, unconstrained):
    set_columns(connection, connection_name="")

    result = run("check_connections")

    assert findings(result) == [
        ("sc_abc123", None, "constraint"),
        ("sc_abc123", "connectionName", "blank"),
    ]
    assert "connection_name_length" in result.json["rows"][0]["message"]


def test_only_filtered_rows_are_checked(connection, valid):
    set_columns(connection, api_key=b"gAAAAAno")

    assert run("check_connections", "--ids", "-", stdin="sc_sound").code == 0


def test_text_output_has_a_line_for_each_finding(connection):
    set_columns(connection, api_key=b"gAAAAAno")

    result = run("check_connections", "--format", "text")

    first, last = result.out.splitlines()
    assert first == (
        "sc_abc123  apiKey  undecryptable  No key of FERNET_KEYS can decrypt it in this row."
    )
    assert last.startswith("0 changed, 0 unchanged, 0 skipped, 1 failed in ")


def test_no_secret_is_printed(connection):
    secret = "sk_" + "live_" + "a b" * 8
    connection.replace_secret("api_key", secret)
    connection.save()

    result = run("check_connections")

    assert findings(result) == [("sc_abc123", "apiKey", "not_a_stripe_secret")]
    assert secret not in result.everything
