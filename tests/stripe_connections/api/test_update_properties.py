"""For random input, the update writes exactly what was sent or nothing, and always responds."""

import json
import string

import pytest
from auditlog.models import LogEntry
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stripe_connections.models import StripeConnection
from tests.conftest import plain_secrets
from tests.stripe_connections.api.test_update_connection import ALWAYS, COLUMNS, changed
from tests.stripe_connections.api.test_update_fields import VALID

# The same examples in every run. All examples of a test share a row, because each example compares
# the row before and after.
bounded = settings(
    derandomize=True,
    database=None,
    deadline=None,
    max_examples=40,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

ALPHANUMERIC = string.ascii_letters + string.digits
STATUS_CODES = {200, 400, 404}
ENVELOPE = ["version", "timestamp", "success", "code", "message"]


def text(alphabet, longest, *, shortest=1):
    return st.text(alphabet, min_size=shortest, max_size=longest)


# Characters that a database and JSON can store, without control characters.
printable = st.characters(exclude_categories=["Cs", "Cc"])
names = text(printable, 128).filter(lambda name: name == name.strip())
descriptions = st.none() | text(printable | st.sampled_from("\t\r\n"), 1_000, shortest=0)
account_ids = st.none() | text(ALPHANUMERIC, 250).map("acct_{}".format)
api_keys = st.builds(
    "{}{}".format,
    st.sampled_from(["sk_", "rk_", "sk_org_"]),
    text(ALPHANUMERIC + "_", 200, shortest=10),
)
webhook_secrets = text(ALPHANUMERIC + "+/=_-", 249, shortest=10).map("whsec_{}".format)
hosts = st.sampled_from(["example.com", "bücher.example", "8.8.8.8", "[2606:4700::1111]", "A.de."])
paths = text(string.ascii_letters + "/?&=%.-@:;", 200, shortest=0)
endpoints = st.none() | st.builds("https://{}/{}".format, hosts, paths)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
configs = st.none() | st.dictionaries(
    text(printable, 9), st.integers() | text(printable, 99), max_size=5
).map(lambda value: json.dumps(value, ensure_ascii=False))

updates = st.fixed_dictionaries(
    {},
    optional={
        "connectionName": names,
        "connectionDescription": descriptions,
        "stripeAccountId": account_ids,
        "apiKey": api_keys,
        "webhookSecret": webhook_secrets,
        "partnerEndpoint": endpoints,
        "configJson": configs,
    },
)
PLAIN = {
    "connectionName": "connection_name",
    "connectionDescription": "connection_description",
    "stripeAccountId": "stripe_account_id",
    "partnerEndpoint": "partner_endpoint",
    "configJson": "config_json",
}


@bounded
@given(updates=updates)
def test_exactly_the_sent_columns_change(manager, connection, stored, updates):
    before = stored(connection)

    response = manager.update({"connectionBizId": "sc_abc123"} | updates)

    may_change = set().union(*(COLUMNS[name] | ALWAYS for name in updates))
    row = StripeConnection.objects.get()
    assert response.status_code == 200
    assert changed(before, stored(connection)) <= may_change
    assert stored(connection)["version"] == before["version"] + bool(updates)
    now = {name: getattr(row, field) for name, field in PLAIN.items()}
    now["apiKey"], now["webhookSecret"] = plain_secrets(row)
    assert {name: now[name] for name in updates} == updates


def sound(response):
    """Check that the response is a 200, 400 or 404 in the envelope; return whether it is a 200."""
    body = json.loads(response.content)
    assert response.status_code in STATUS_CODES
    assert list(body)[:5] == ENVELOPE
    assert body["code"] == f"{response.status_code}0"
    assert body["success"] == (response.status_code == 200)
    return body["success"]


@pytest.mark.only_on("sqlite", reason="bad values do not reach the database")
@bounded
@given(sent=json_values)
def test_response_to_any_json_has_the_envelope(manager, connection, stored, sent):
    before = stored(connection)

    response = manager.update(json.dumps(sent).encode())

    assert not sound(response)
    assert stored(connection) == before


@pytest.mark.only_on("sqlite", reason="bad values do not reach the database")
@bounded
@given(sent=st.binary(max_size=300))
def test_response_to_any_bytes_has_the_envelope(manager, connection, stored, sent):
    before = stored(connection)

    response = manager.update(b"{" + sent)

    assert not sound(response)
    assert stored(connection) == before


UPDATABLE = {name: value for name, value in VALID.items() if name != "connectionBizId"}
almost = st.fixed_dictionaries(
    {"connectionBizId": st.just("sc_abc123") | json_values},
    optional={
        name: json_values | st.text().map(value.__add__) for name, value in UPDATABLE.items()
    },
)


@bounded
@given(sent=almost)
def test_refused_body_changes_nothing(manager, connection, stored, sent):
    before, records = stored(connection), LogEntry.objects.count()

    response = manager.update(json.dumps(sent).encode())

    accepted = sound(response)
    written = accepted and bool(sent.keys() - {"connectionBizId"})
    assert (stored(connection) == before) is not written
    assert LogEntry.objects.count() == records + written


urls = st.builds(
    "{}{}{}".format,
    st.sampled_from(["https://", "https://a.", "https://[", "https://xn--", "https://1.1.1."]),
    st.text(max_size=40),
    st.sampled_from(["", ".com", "/", "]", ":443", ".1"]),
)


@pytest.mark.only_on("sqlite", reason="bad values do not reach the database")
@bounded
@given(url=urls)
def test_any_endpoint_is_stored_or_refused(manager, connection, url):
    response = manager.update(
        json.dumps({"connectionBizId": "sc_abc123", "partnerEndpoint": url}).encode()
    )

    shown = json.loads(response.content)
    assert shown.get("data", {"partnerEndpoint": url.strip()})["partnerEndpoint"] == url.strip()
    assert sound(response) is ("data" in shown)
