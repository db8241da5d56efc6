"""How the API, the admin and the commands handle each reply, with Stripe's library over HTTP."""

import json

import pytest
from auditlog.models import LogEntry
from prometheus_client import REGISTRY

from stripe_connections.models import StripeConnection
from stripe_connections.stripe_api.replies import Cause
from tests.conftest import log_lines, random_api_key, written_log
from tests.fake_stripe import OTHER, STORED
from tests.stripe_connections.admin.conftest import ADD, change_url, messages
from tests.stripe_connections.api.test_create_connection import create
from tests.stripe_connections.api.test_verify_call import verify
from tests.stripe_connections.bulk.conftest import run

pytestmark = pytest.mark.only_on("sqlite", reason="replies do not depend on the database")

NAMED = {"connectionBizId": "sc_abc123"}
LACKS = "The provided key 'rk_live_*' does not have the required permissions for this endpoint on"
PRICES = "\"Prices Read\" ('plan_read') permissions on this key would allow this request"
# From https://github.com/stripe/openapi (openapi/fixtures3.json), and from the documentation of
# accounts in version 2 of the API.
ACCOUNT_V1 = {
    "id": STORED,
    "object": "account",
    "business_type": None,
    "capabilities": {"card_payments": "active", "transfers": "active"},
    "controller": {"type": "account"},
    "email": "site@stripe.com",
    "type": "standard",
}
ACCOUNT_V2 = {
    "id": STORED,
    "object": "v2.core.account",
    "applied_configurations": ["customer", "merchant"],
    "configuration": None,
    "contact_email": "furever@example.com",
    "identity": None,
    "livemode": True,
}


def error(text="No.", code=None):
    return {"error": {"type": "invalid_request_error", "message": text, "code": code}}


IP = error("The API key provided does not allow requests from your IP address (192.0.2.1).")
# Status and body; outcome, cause, account and permission; the error code for a new key.
REPLIES = {
    "account": (200, ACCOUNT_V1, ("verified", None, STORED, None), None),
    "account of v2": (200, ACCOUNT_V2, ("verified", None, STORED, None), None),
    "address": (401, IP, ("unverified", "ip_not_allowed", None, None), None),
    "expired": (
        401,
        error("Expired API Key provided: sk_live_*", "api_key_expired"),
        ("rejected", "expired", None, None),
        "rejected_by_stripe",
    ),
    "expired platform": (
        401,
        error("No.", "platform_api_key_expired"),
        ("rejected", "expired", None, None),
        "rejected_by_stripe",
    ),
    "expired, no code": (
        401,
        error("Expired API Key provided: sk_live_*"),
        ("rejected", "expired", None, None),
        "rejected_by_stripe",
    ),
    "wrong": (
        401,
        error("Invalid API Key provided: sk_live_*"),
        ("rejected", "not_accepted", None, None),
        "rejected_by_stripe",
    ),
    "401 of another kind": (
        401,
        error("No.", "a_new_code"),
        ("rejected", "not_accepted", None, None),
        "rejected_by_stripe",
    ),
    "new permission": (
        403,
        error(f"{LACKS} account '{STORED}'. Enabling {PRICES}.", "more_permissions_required"),
        ("restricted", "missing_permission", STORED, "Prices Read (plan_read)"),
        None,
    ),
    "old permission": (
        403,
        error(f"{LACKS} account '{STORED}'. Having the 'rak_plan_read' permission would allow it."),
        ("restricted", "missing_permission", STORED, "rak_plan_read"),
        None,
    ),
    "no permission exists": (
        403,
        error(f"{LACKS} account '{STORED}'. This is a restricted API key, but …"),
        ("restricted", "missing_permission", STORED, None),
        None,
    ),
    "permission by code": (
        403,
        error("No.", "more_permissions_required"),
        ("restricted", "missing_permission", None, None),
        None,
    ),
    "no access": (
        403,
        error("The provided key 'sk_*' does not have access to account 'acct_x' (or that …)"),
        ("rejected", "account_not_accessible", None, None),
        "account_not_accessible",
    ),
    "no access by code": (
        403,
        error("No.", "account_invalid"),
        ("rejected", "account_not_accessible", None, None),
        "account_not_accessible",
    ),
    "deleted account": (
        403,
        error(f"The account {STORED} has been deleted."),
        ("unverified", "unknown_reply", None, None),
        None,
    ),
    "app": (
        403,
        error(f"This application does not have the required permissions … on account '{STORED}'."),
        ("unverified", "unknown_reply", None, None),
        None,
    ),
    "403 of another kind": (
        403,
        error("No.", "a_new_code"),
        ("unverified", "unknown_reply", None, None),
        None,
    ),
    "402": (402, error(), ("unverified", "unknown_reply", None, None), None),
    "418": (418, error(), ("unverified", "unknown_reply", None, None), None),
    "429": (429, error(), ("unverified", "rate_limited", None, None), None),
    "503": (503, error(), ("unverified", "stripe_error", None, None), None),
    "garbage": (200, b"<html>", ("unverified", "unknown_reply", None, None), None),
    "redirect": (302, b"", ("unverified", "unknown_reply", None, None), None),
}
NAMES = ("status", "body", "reply", "refusal")
ROWS = pytest.mark.parametrize(NAMES, REPLIES.values(), ids=REPLIES)
# One reply for each outcome and each refusal, for the other callers: all have the same reply.
INCONCLUSIVE = {name: REPLIES[name] for name in ("address", "503")}
OUTCOMES = INCONCLUSIVE | {
    name: REPLIES[name] for name in ("account", "new permission", "expired", "no access")
}
OUTCOME_ROWS = pytest.mark.parametrize(NAMES, OUTCOMES.values(), ids=OUTCOMES)


def stored(**lookup):
    found = StripeConnection.objects.get(**lookup).outcome
    return found.verification, found.cause, found.account_id, found.missing_permission


@ROWS
def test_reply_to_an_update(manager, connection, stripe, status, body, reply, refusal):
    stripe.sends(status, body)

    errors = manager.update(NAMED | {"apiKey": random_api_key()}).json().get("errors", [])

    assert [entry["code"] for entry in errors] == [refusal] * bool(refusal)
    assert stored() == (("unverified", None, None, None) if refusal else reply)


@OUTCOME_ROWS
def test_reply_to_a_creation(manager, stripe, status, body, reply, refusal):
    stripe.sends(status, body)
    values = {"connectionName": "New", "apiKey": random_api_key(), "stripeAccountId": STORED}

    answer = create(manager, values).json()

    assert [entry["code"] for entry in answer.get("errors", [])] == [refusal] * bool(refusal)
    shown = answer.get("data", {}).get("extra", {}).get("verification", {})
    names = ("outcome", "cause", "accountId", "missingPermission")
    assert tuple(map(shown.get, names)) == ((None,) * 4 if refusal else reply)


@OUTCOME_ROWS
def test_reply_to_a_form(staff, workspace, stripe, status, body, reply, refusal):
    stripe.sends(status, body)
    form = {"workspace": workspace.pk, "connection_name": "New", "status": "1"}

    staff.post(ADD, form | {"api_key": random_api_key(), "stripe_account_id": STORED})

    found = StripeConnection.objects.all()
    assert [stored(pk=row.pk) for row in found] == [reply] * (not refusal)


def by_call(request):
    verify(request.getfixturevalue("manager"))


def by_action(request):
    request.getfixturevalue("staff").act("verify", StripeConnection.objects.get())


def by_command(request):
    run("verify_connections", "--apply", "--max-age", "0")


STORED_KEY = pytest.mark.parametrize("check", [by_call, by_action, by_command])


@STORED_KEY
@OUTCOME_ROWS
def test_reply_for_a_stored_key(request, connection, stripe, check, status, body, reply, refusal):
    """If the reply is inconclusive, nothing changes."""
    stripe.sends(status, body)

    check(request)

    unknown = ("unverified", None, None, None)
    assert stored() == (unknown if reply[0] == "unverified" else reply)


@STORED_KEY
@pytest.mark.parametrize(
    ("status", "body"),
    [(status, body) for status, body, *_ in INCONCLUSIVE.values()],
    ids=INCONCLUSIVE,
)
def test_verified_key_stays_verified_after_an_inconclusive_reply(
    request, manager, connection, stripe, check, status, body
):
    verify(manager)
    before = StripeConnection.objects.values().get()
    stripe.sends(status, body)

    check(request)

    assert StripeConnection.objects.values().get() == before
    assert before["verification"] == "verified"


def test_restricted_key_of_another_account_is_refused(manager, connection, stripe):
    stripe.sends(403, error(f"{LACKS} account '{OTHER}'.", "more_permissions_required"))

    response = manager.update(NAMED | {"apiKey": random_api_key("rk_live_")})

    assert response.json()["errors"][0]["code"] == "account_mismatch"


@STORED_KEY
def test_stored_key_of_another_account_is_rejected(request, connection, stripe, check):
    stripe.knows(OTHER)

    check(request)

    assert stored() == ("rejected", "mismatch", OTHER, None)


@pytest.fixture
def platform(stripe):
    """Return a function that makes the key a platform's, with this reply for the account."""

    def arrange(status, body):
        def answer(handler):
            is_own = handler.path == "/v1/account"
            sent = (200, {"id": "acct_platform"}) if is_own else (status, body)
            handler.send(sent[0], json.dumps(sent[1]).encode())

        stripe.answer = answer

    return arrange


def test_platform_key_is_verified_for_a_connected_account(manager, connection, stripe, platform):
    platform(200, ACCOUNT_V1)

    assert manager.update(NAMED | {"apiKey": random_api_key()}).status_code == 200
    assert stored() == ("verified", "connected", STORED, None)
    assert [path for path, _ in stripe.requests] == ["/v1/account", f"/v1/accounts/{STORED}"]


@pytest.mark.parametrize("status", [403, 404])
def test_platform_key_of_another_account_is_a_mismatch(manager, connection, platform, status):
    platform(status, error())

    response = manager.update(NAMED | {"apiKey": random_api_key()})

    assert response.json()["errors"][0]["code"] == "account_mismatch"


@pytest.mark.parametrize(
    ("status", "cause"), [(429, "rate_limited"), (503, "stripe_error"), (401, "not_accepted")]
)
def test_missing_reply_for_a_connected_account_is_unverified(
    manager, connection, platform, status, cause
):
    platform(status, error())

    assert manager.update(NAMED | {"apiKey": random_api_key()}).status_code == 200
    assert stored() == ("unverified", cause, None, None)


@pytest.fixture
def lacking(stripe, settings):
    """A restricted key of the account without the required permission to read prices."""
    settings.STRIPE_REQUIRED_PERMISSIONS = ["customers", "prices"]
    knows = stripe.answer

    def answer(handler):
        if handler.path.startswith("/v1/prices"):
            text = f"{LACKS} account '{STORED}'. Enabling {PRICES}."
            handler.send(403, json.dumps(error(text)).encode())
        else:
            knows(handler)

    stripe.answer = answer
    return {"apiKey": random_api_key("rk_live_")}


def test_key_without_a_required_permission_is_restricted(manager, connection, stripe, lacking):
    assert manager.update(NAMED | lacking).status_code == 200

    missing = "Prices Read (plan_read)"
    assert stored() == ("restricted", "required_permission", STORED, missing)


def test_key_without_a_required_permission_is_refused_if_verification_is_required(
    manager, connection, lacking, settings
):
    settings.STRIPE_VERIFY_REQUIRED = True

    (entry,) = manager.update(NAMED | lacking).json()["errors"]

    assert (entry["field"], entry["code"]) == ("apiKey", "required_permission")
    assert "Prices Read (plan_read)" in entry["message"]


def test_secret_key_has_every_permission(manager, connection, stripe, lacking):
    assert manager.update(NAMED | {"apiKey": random_api_key()}).status_code == 200

    assert [path for path, _ in stripe.requests] == ["/v1/account"]


def test_cause_is_logged_and_counted(manager, connection, stripe):
    stripe.sends(401, IP)
    labels = {"outcome": "unverified", "cause": "ip_not_allowed"}
    name = "connections_verification_total"
    before = REGISTRY.get_sample_value(name, labels) or 0
    with written_log() as log:
        manager.update(NAMED | {"apiKey": random_api_key()})

    assert REGISTRY.get_sample_value(name, labels) == before + 1
    line = next(line for line in log_lines(log) if line["event"] == "verification")
    assert (line["outcome"], line["cause"]) == ("unverified", "ip_not_allowed")
    assert "192.0.2.1" not in log.getvalue()


def test_cause_is_explained_by_every_caller(manager, staff, connection, stripe, settings):
    stripe.sends(401, IP)
    label = Cause.IP_NOT_ALLOWED.label

    assert label.rstrip(".") in messages(staff.act("verify", connection))[0]
    assert run("verify_connections", "--apply").json["rows"][0]["error"] == label
    staff.save(change_url(connection), api_key=random_api_key())
    page = staff.get(change_url(connection)).content.decode()
    assert "IP allowlist does not include this server" in page
    settings.STRIPE_VERIFY_REQUIRED = True
    response = manager.update(NAMED | {"apiKey": random_api_key()})
    assert (response.status_code, response.json()["message"]) == (503, label)
    assert "192.0.2.1" not in page + str(list(LogEntry.objects.values()))
