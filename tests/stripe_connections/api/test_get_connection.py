"""The detail call."""

import json

import pytest
from auditlog.models import LogEntry
from django.utils import timezone

from stripe_connections.stripe_api.replies import Verification
from tests.conftest import random_api_key, set_columns

ELEVEN = [
    "bizId", "tenantBizId", "connectionName", "connectionDescription", "stripeAccountId",
    "partnerEndpoint", "configJson", "status", "statusName", "createdAt", "updatedAt",
]  # fmt: skip


def extra(response):
    return response.json()["data"]["extra"]


@pytest.mark.parametrize("who", ["manager", "viewer"])
def test_members_see_the_connection(request, connection, who):
    response = request.getfixturevalue(who).read("/sc_abc123")

    assert response.status_code == 200
    assert list(response.json()["data"]) == [*ELEVEN, "extra"]
    assert response["ETag"] == '"1"'


def test_response_has_the_eleven_keys_of_the_update_call(manager, connection):
    shown = manager.read("/sc_abc123").json()["data"]
    del shown["extra"]

    answer = manager.update({"connectionBizId": "sc_abc123"}).json()["data"]

    assert json.dumps(shown) == json.dumps(answer)


def test_etag_and_version_are_those_of_the_last_update(manager, connection):
    updated = manager.update({"connectionBizId": "sc_abc123", "connectionName": "New"})

    response = manager.read("/sc_abc123")

    assert response["ETag"] == updated["ETag"] == '"2"'
    assert extra(response)["version"] == 2


@pytest.mark.parametrize(
    ("prefix", "mode"),
    [
        ("sk_live_", "live"),
        ("rk_test_", "test"),
        ("sk_org_live_", "live"),
        ("sk_", None),
    ],
)
def test_mode_follows_from_the_prefix(manager, connection, prefix, mode):
    key = random_api_key(prefix)
    manager.update({"connectionBizId": "sc_abc123", "apiKey": key})

    shown = extra(manager.read("/sc_abc123"))

    assert (shown["mode"], shown["apiKeyHint"]) == (mode, f"{prefix}…{key[-4:]}")


def test_stored_hints_are_shown(manager, connection):
    shown = extra(manager.read("/sc_abc123"))

    assert shown["apiKeyHint"] == connection.api_key_hint
    assert shown["webhookSecretHint"] == connection.webhook_secret_hint
    assert shown["hasWebhookSecret"] is True


def test_missing_secrets_are_null(manager, connection):
    names = [f"{n}{suffix}" for n in ("api_key", "webhook_secret") for suffix in SUFFIXES]
    set_columns(connection, **dict.fromkeys(names))

    shown = extra(manager.read("/sc_abc123"))

    assert (shown["mode"], shown["apiKeyHint"], shown["webhookSecretHint"]) == (None, None, None)
    assert shown["hasWebhookSecret"] is False


SUFFIXES = ("", "_hint", "_fingerprint", "_replaced_at")
UNVERIFIED = {
    "outcome": "unverified",
    "at": None,
    "accountId": None,
    "missingPermission": None,
    "cause": None,
}


def test_connection_without_a_verification_is_unverified(manager, connection):
    assert extra(manager.read("/sc_abc123"))["verification"] == UNVERIFIED


@pytest.fixture
def restricted(connection):
    """A connection whose key is restricted."""
    connection.verification = Verification.RESTRICTED
    connection.verification_at = timezone.now().replace(microsecond=0)
    connection.missing_permission = "rak_accounts_kyc_basic_read"
    connection.save()
    return connection


def test_verification_is_shown(manager, restricted):
    assert extra(manager.read("/sc_abc123"))["verification"] == {
        "outcome": "restricted",
        "at": f"{restricted.verification_at:%Y-%m-%dT%H:%M:%SZ}",
        "accountId": None,
        "missingPermission": "rak_accounts_kyc_basic_read",
        "cause": None,
    }


def test_new_key_is_unverified(manager, restricted):
    manager.update({"connectionBizId": "sc_abc123", "apiKey": random_api_key()})

    assert extra(manager.read("/sc_abc123"))["verification"] == UNVERIFIED


def test_unreadable_secret_does_not_matter(manager, connection):
    set_columns(connection, api_key=b"garbage")

    assert manager.read("/sc_abc123").status_code == 200


def test_reading_changes_nothing(manager, connection, stored):
    before = stored(connection)

    manager.read("/sc_abc123")
    manager.read()

    assert stored(connection) == before
    assert not LogEntry.objects.exists()


MISSING = [
    "sc_nothere",
    "sc_ABC123",
    "sc_abc12",
    "x",
    "%00",
    "%FF",
    "%ED%A0%80",
    "x" * 300,
    "sc_abc123%0A",
]


def test_missing_connection_is_404(manager, connection):
    bodies = {biz_id: manager.read(f"/{biz_id}").json() for biz_id in MISSING}

    found = {biz_id: (body["code"], body["message"]) for biz_id, body in bodies.items()}
    assert found == dict.fromkeys(MISSING, ("4040", "Stripe tenant connection not found"))


QUERIES = ["format=xml", "a=1&a=2", "%00=%FF", "x" * 3_000, "&".join("a" * 2_000)]
PATH = "/web/v1/workspaces/ws_demo/stripe/connections/sc_abc123"


def test_query_string_is_ignored(manager, connection):
    headers = {"Accept": "application/json, text/plain"}

    found = {
        query: manager.get(f"{PATH}?{query}", headers=headers).status_code for query in QUERIES
    }

    assert found == dict.fromkeys(QUERIES, 200)


@pytest.mark.only_on("sqlite", reason="methods do not depend on the database")
@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize("path", [PATH, PATH.rpartition("/")[0], f"{PATH}/history"])
def test_other_methods_are_refused(manager, path):
    def refuse(method):
        response = manager.generic(method, path, "{}", "application/json")
        return response.status_code, response["Allow"]

    methods = ("POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE")
    assert {method: refuse(method) for method in methods} == dict.fromkeys(methods, (405, "GET"))
