"""`update_connections` sets fields with the rules of the API, and replaces hosts."""

import pytest
from auditlog.models import LogEntry

from stripe_connections.models import StripeConnection
from tests.conftest import random_api_key
from tests.stripe_connections.bulk.conftest import run


def value(connection, name):
    return StripeConnection.objects.values_list(name, flat=True).get(pk=connection.pk)


@pytest.mark.parametrize(
    ("arguments", "column", "expected"),
    [
        (("--set", "connectionName= New "), "connection_name", "New"),
        (("--set", "connectionDescription="), "connection_description", ""),
        (("--set", 'configJson={"a": "b=c"}'), "config_json", '{"a": "b=c"}'),
        (("--set", "status=inactive"), "status", 0),
        (("--set-null", "connectionDescription"), "connection_description", None),
        (("--set-null", "stripeAccountId"), "stripe_account_id", None),
    ],
)
def test_field_is_set(connection, arguments, column, expected):
    result = run("update_connections", "--apply", *arguments)

    assert result.counts == (1, 0, 0, 0)
    assert value(connection, column) == expected
    assert value(connection, "version") == 2
    assert LogEntry.objects.get().additional_data["source"] == "command"


def test_same_value_is_unchanged(connection, stored):
    before = stored(connection)

    result = run("update_connections", "--apply", "--set", "connectionName=Stripe Connection")

    assert result.counts == (0, 1, 0, 0)
    assert stored(connection) == before


BAD = [
    (),
    ("--set", "connectionName"),
    ("--set", "=x"),
    ("--set", "connectionName="),
    ("--set-null", "connectionName"),
    ("--set-null", "status"),
    ("--set", "status=2"),
    ("--set", "status= ACTIVE"),
    ("--set", "bizId=sc_x"),
    ("--set", "connectionBizId=sc_x"),
    ("--set", "unknown=x"),
    ("--set", "partnerEndpoint=http://example.com/"),
    ("--set", "partnerEndpoint=https://10.0.0.1/"),
    ("--set", "configJson=[]"),
    ("--set", "connectionName=a", "--set", "connectionName=b"),
    ("--set", "connectionName=a", "--set-null", "connectionName"),
    ("--rewrite-host", "partner.example.com"),
    ("--rewrite-host", "=b.example"),
]


@pytest.mark.usefixtures("untouched")
def test_bad_value_is_refused_before_any_row():
    def refuse(arguments):
        result = run("update_connections", "--apply", *arguments)
        return result.code, result.out

    assert {arguments: refuse(arguments) for arguments in BAD} == dict.fromkeys(BAD, (1, ""))


@pytest.mark.parametrize("name", ["apiKey", "webhookSecret"])
def test_secret_on_the_command_line_is_refused(connection, stored, name):
    before, secret = stored(connection), random_api_key()

    result = run("update_connections", "--apply", "--set", f"{name}={secret}")

    assert (
        result.problem == f"{name} on a command line could be seen by others. Use replace_secret."
    )
    assert stored(connection) == before


def test_secret_as_a_name_is_not_repeated(connection):
    secret = random_api_key()

    result = run("update_connections", "--set", f"{secret}=x")

    assert result.code == 1
    assert secret not in result.everything


@pytest.mark.only_on("sqlite", reason="this is about the message")
def test_unknown_field_is_refused_with_the_possible_names():
    assert run("update_connections", "--set", "foo=1").problem == (
        "foo: Unknown field. The fields are connectionName, connectionDescription, "
        "stripeAccountId, partnerEndpoint, configJson, status."
    )


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("https://old.example", "https://new.example"),
        ("https://old.example/a?b=old.example", "https://new.example/a?b=old.example"),
        ("https://old.example:8443/a", "https://new.example:8443/a"),
        ("HTTPS://OLD.example./a", "HTTPS://new.example/a"),
        ("https://old.example?x", "https://new.example?x"),
    ],
)
def test_host_is_replaced(workspace, make_connection, before, after):
    connection = make_connection(workspace, partner_endpoint=before)

    result = run("update_connections", "--apply", "--rewrite-host", "old.example=new.example")

    assert result.counts == (1, 0, 0, 0)
    assert value(connection, "partner_endpoint") == after


@pytest.mark.parametrize(
    "endpoint",
    [
        "https://sub.old.example/",
        "https://old.example.org/",
        "https://other.example/?old.example",
        None,
    ],
)
def test_other_host_is_not_changed(workspace, make_connection, stored, endpoint):
    connection = make_connection(workspace, partner_endpoint=endpoint)
    before = stored(connection)

    result = run("update_connections", "--apply", "--rewrite-host", "old.example=new.example")

    assert result.counts == (0, 0, 0, 0)
    assert stored(connection) == before


def test_row_with_an_invalid_new_host_fails(connection, stored):
    before = stored(connection)

    result = run("update_connections", "--apply", "--rewrite-host", "partner.example.com=10.0.0.1")

    assert (result.code, result.counts) == (1, (0, 0, 0, 1))
    assert "The host must be public" in result.json["rows"][0]["error"]
    assert stored(connection) == before


def test_secrets_are_not_written(connection, stored):
    before = stored(connection)

    run("update_connections", "--apply", "--set", "connectionName=New")

    after = stored(connection)
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {"connection_name", "version", "updated_at"}
