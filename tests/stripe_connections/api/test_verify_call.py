"""The verify call verifies the stored key and writes only the result."""

import pytest
from auditlog.models import LogEntry
from django.conf import settings as django_settings
from django.contrib.contenttypes.models import ContentType
from django.db import connection as database
from django.test.utils import CaptureQueriesContext

from stripe_connections import services
from stripe_connections.audit.records import Actor, Source
from stripe_connections.models import VERIFICATION_FIELDS, StripeConnection
from stripe_connections.stripe_api import verification
from stripe_connections.stripe_api.replies import Cause
from tests.conftest import ApiClient, errors_of, plain, random_api_key, set_columns
from tests.fake_stripe import OTHER, STORED

PATH = "/web/v1/workspaces/{}/stripe/connections/verify"
NAMED = {"connectionBizId": "sc_abc123"}


def verify(client, body=NAMED, workspace_id="ws_demo", **kwargs):
    kwargs.setdefault("content_type", "application/json")
    return client.post(PATH.format(workspace_id), body, **kwargs)


def shown(response):
    """Return the verification in the response."""
    assert response.status_code == 200
    return response.json()["data"]["extra"]["verification"]


@pytest.fixture
def changed(connection, stored):
    """Return a function that returns the columns that have changed since."""
    before = stored(connection)
    return lambda: {name for name, value in stored(connection).items() if value != before[name]}


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (("knows", STORED), ("verified", STORED, None)),
        (("knows", OTHER), ("rejected", OTHER, None)),
        (("rejects",), ("rejected", None, None)),
        (("fails", 403, "'rak_balance_read'"), ("restricted", None, "rak_balance_read")),
    ],
)
def test_result_is_returned_and_stored(manager, connection, stripe, changed, answer, outcome):
    name, *arguments = answer
    getattr(stripe, name)(*arguments)

    response = verify(manager)

    found = shown(response)
    assert (found["outcome"], found["accountId"], found["missingPermission"]) == outcome
    assert found["at"].endswith("Z")
    assert response["ETag"] == '"1"'
    assert changed() <= set(VERIFICATION_FIELDS)
    assert response.json()["data"] == manager.read("/sc_abc123").json()["data"]


def test_verified_key_is_verified_again(manager, connection, stripe):
    key = plain(StripeConnection.objects.defer(None).get(), "api_key")

    assert [shown(verify(manager))["outcome"] for _ in range(2)] == ["verified"] * 2
    assert stripe.keys == [key, key]


def test_etag_from_before_still_matches(manager, connection, stripe):
    verify(manager)

    body = NAMED | {"connectionName": "New"}
    assert manager.update(body, headers={"If-Match": '"1"'}).status_code == 200


def test_connection_without_an_account_accepts_any_account(manager, connection, stripe):
    set_columns(connection, stripe_account_id=None)
    stripe.knows(OTHER)

    assert shown(verify(manager))["outcome"] == "verified"


def test_changed_outcome_is_recorded_once(manager, connection, stripe):
    response = verify(manager)
    verify(manager)

    record = LogEntry.objects.get()
    assert record.changes == {"verification": ["unverified", "verified"]}
    assert record.cid == response["X-Request-Id"]
    assert record.additional_data == {"source": "api", "username": "manager", "version": 1}


@pytest.mark.parametrize("answer", [("fails", 503), ("fails", 429), ("is_silent",)])
def test_key_that_could_not_be_checked_is_503_and_nothing_is_written(
    manager, connection, stripe, changed, answer
):
    name, *arguments = answer
    getattr(stripe, name)(*arguments)

    response = verify(manager)

    body = response.json()
    assert (response.status_code, body["code"], response["Retry-After"]) == (503, "5030", "60")
    assert body["message"] in Cause.labels
    assert changed() == set()


@pytest.mark.parametrize("known", [("knows", STORED), ("rejects",)])
def test_failed_verification_keeps_the_stored_result(manager, connection, stripe, stored, known):
    name, *arguments = known
    getattr(stripe, name)(*arguments)
    verify(manager)
    before = stored(connection)
    stripe.fails(503)

    assert verify(manager).status_code == 503
    assert stored(connection) == before


def test_result_is_not_stored_for_a_key_that_was_replaced_meanwhile(
    manager, connection, stripe, monkeypatch
):
    send = verification.verify

    def verify_and_replace(*arguments, **options):
        answer = send(*arguments, **options)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("django.conf.settings.STRIPE_VERIFY", False)
            services.update_connection(
                workspace=connection.workspace,
                biz_id="sc_abc123",
                changes={"api_key": random_api_key()},
                actor=Actor(None, Source.COMMAND),
            )
        return answer

    monkeypatch.setattr(verification, "verify", verify_and_replace)

    assert verify(manager).status_code == 503
    assert StripeConnection.objects.get().outcome.verification == "unverified"
    assert not LogEntry.objects.filter(changes__has_key="verification").exists()


@pytest.mark.parametrize(
    ("columns", "field", "code"),
    [
        (
            dict.fromkeys(
                ("api_key", "api_key_hint", "api_key_fingerprint", "api_key_replaced_at")
            ),
            "apiKey",
            "required",
        ),
        ({"api_key": b"damaged"}, "apiKey", "unreadable"),
        pytest.param(
            {"api_key": "typed by hand"},
            "apiKey",
            "unreadable",
            marks=pytest.mark.only_on("sqlite", reason="a bytea column cannot contain text"),
        ),
    ],
    ids=["no key", "unreadable", "text"],
)
def test_connection_without_a_readable_key_is_400(
    manager, connection, stripe, stored, columns, field, code
):
    set_columns(connection, **columns)
    before = stored(connection)

    response = verify(manager)

    (error,) = response.json()["errors"]
    assert (response.status_code, error["field"], error["code"]) == (400, field, code)
    assert stored(connection) == before
    assert stripe.requests == []


def test_key_of_an_organization_needs_an_account(manager, connection, stripe):
    key = random_api_key("sk_org_live_")
    assert manager.update(NAMED | {"apiKey": key}).status_code == 200
    assert shown(verify(manager))["outcome"] == "verified"
    set_columns(connection, stripe_account_id=None)

    response = verify(manager)

    (error,) = response.json()["errors"]
    assert (response.status_code, error["field"]) == (400, "stripeAccountId")
    assert error["code"] == "required"


def test_call_is_404_if_verification_is_off(manager, fake_stripe, assert_refused):
    body = assert_refused(verify(manager), 404, "4040")

    assert body["message"] == "Verification is switched off"
    assert fake_stripe.requests == []


@pytest.mark.parametrize("is_on", [True, False])
def test_caller_without_the_permission_is_refused_first(
    fake_stripe, settings, viewer, assert_refused, is_on
):
    settings.STRIPE_VERIFY = is_on

    assert_refused(verify(viewer, {}), 403, "4030")
    assert fake_stripe.requests == []


def test_caller_without_a_token_is_refused_first(fake_stripe, assert_refused):
    assert_refused(verify(ApiClient(), {}), 401, "4010")


BAD = [
    (b"{", None, "not_json"),
    (b"[]", None, "not_an_object"),
    ({}, "connectionBizId", "required"),
    ({"connectionBizId": None}, "connectionBizId", "null"),
    ({"connectionBizId": 5}, "connectionBizId", "invalid_type"),
    ({"connectionBizId": "x" * 65}, "connectionBizId", "max_length"),
    (NAMED | {"connectionBizID": "x"}, "connectionBizID", "unknown"),
    (NAMED | {"apiKey": random_api_key()}, "apiKey", "unknown"),
    (NAMED | {random_api_key(): 1}, None, "unknown"),
]


@pytest.mark.usefixtures("untouched")
def test_bad_body_is_400(manager, stripe):
    found = [errors_of(verify(manager, body)) for body, *_ in BAD]

    assert found == [(400, [(field, code)]) for _, field, code in BAD]
    assert stripe.requests == []


def test_verify_and_update_calls_share_a_rate_limit(manager, connection, stripe, settings, stored):
    settings.REST_FRAMEWORK = django_settings.REST_FRAMEWORK | {
        "DEFAULT_THROTTLE_RATES": {"stripe": "2/day"}
    }
    assert verify(manager).status_code == 200
    assert manager.update(NAMED | {"apiKey": random_api_key()}).status_code == 200
    before = stored(connection)

    response = verify(manager)

    assert (response.status_code, response.json()["code"]) == (429, "4290")
    assert 0 < int(response["Retry-After"]) <= 86_400
    assert stored(connection) == before
    assert len(stripe.requests) == 2


@pytest.mark.django_db(transaction=True)
def test_no_transaction_is_open_during_the_verification(manager, connection, transactions):
    assert verify(manager).status_code == 200
    assert transactions == [False]


@pytest.mark.django_db(transaction=True)
def test_number_of_statements(manager, connection, stripe):
    ContentType.objects.get_for_model(StripeConnection)
    with CaptureQueriesContext(database) as first:
        verify(manager)
    with CaptureQueriesContext(database) as second:
        verify(manager)

    # The caller, the row, the key; BEGIN, the row again, the outcome, the record of a change,
    # COMMIT.
    assert (len(first), len(second)) == (8, 7)
    columns = [query["sql"].partition(" SET ")[2] for query in first if "UPDATE" in query["sql"]]
    assert [name for name in ("version", "updated_at", 'api_key"') if name in columns[-1]] == []
