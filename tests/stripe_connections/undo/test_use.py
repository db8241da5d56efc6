"""`use`: other code in the project uses the API key and the webhook secret of a connection."""

import json
import re
import time
from datetime import timedelta
from pathlib import Path

import pytest
import stripe as library
from django.db import connection as database
from django.test import RequestFactory
from django.test.utils import CaptureQueriesContext
from prometheus_client import REGISTRY

from config.observability.requests import request_id
from stripe_connections import services, use
from stripe_connections.models import ReplacedSecret, StripeConnection
from tests.conftest import log_lines, random_api_key, set_columns, written_log
from tests.fake_stripe import OTHER, STORED
from tests.stripe_connections.undo.conftest import (
    ACTOR,
    MAKE,
    age,
    current,
    replace,
)

PAGE = Path(__file__).resolve().parents[3] / "docs" / "using.md"
IDS = ("ws_demo", "sc_abc123")
PAYMENT = {"id": "pi_1", "object": "payment_intent", "amount": 1200, "currency": "eur"}
EVENT = {"id": "evt_1", "object": "event", "type": "payment_intent.succeeded"}
PAYLOAD = json.dumps(EVENT | {"data": {"object": PAYMENT}}).encode()
LIBRARY = pytest.mark.only_on("sqlite", reason="Stripe's library does not use the database")


def client():
    return use.stripe_client(*IDS, purpose="test")


def event(secret, payload=PAYLOAD, at=None):
    return use.construct_event(*IDS, payload, signature(secret, payload, at))


def signature(secret, payload=PAYLOAD, at=None):
    signed = library.WebhookSignature.generate_signature_header
    return signed(payload.decode(), secret, at or int(time.time()))


USES = {
    "api_key": client,
    "webhook_secret": lambda: event("whsec_" + "a" * 20),
}


@pytest.fixture
def view():
    """The view in docs/using.md."""
    [code] = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    namespace = {}
    exec(code, namespace)
    return namespace["stripe_webhook"]


def deliver(view, secret, payload=PAYLOAD):
    headers = {"Stripe-Signature": signature(secret, payload)}
    request = RequestFactory().post("/", payload, "application/json", headers=headers)
    return view(request, *IDS)


@LIBRARY
def test_documented_view_receives_a_webhook_and_calls_stripe(view, connection, fake_stripe):
    fake_stripe.sends(200, PAYMENT)
    response = deliver(view, current("webhook_secret"))

    assert (response.status_code, response.content) == (200, b"1200 eur")
    [(path, headers)] = fake_stripe.requests
    assert path == "/v1/payment_intents/pi_1"
    assert headers["Authorization"] == f"Bearer {current()}"


@LIBRARY
def test_documented_view_refuses_a_forged_webhook(view, connection, fake_stripe):
    assert deliver(view, "whsec_" + "a" * 20).status_code == 400
    assert fake_stripe.requests == []


@LIBRARY
def test_documented_view_refuses_an_inactive_connection(view, connection, fake_stripe):
    secret = current("webhook_secret")
    replace(connection, status=0)

    assert deliver(view, secret).status_code == 404


def test_documented_view_has_at_most_twenty_lines():
    [code] = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)

    assert len(code[code.index("@csrf_exempt") :].splitlines()) <= 20


def test_version_of_the_connection_is_returned(connection):
    replace(connection, connection_name="New")

    assert client()[1] == 2
    assert event(current("webhook_secret"))[1] == 2


@LIBRARY
@pytest.mark.parametrize(
    ("key", "outcome", "header"),
    [
        ("sk_live_", {}, "Stripe-Account"),
        ("sk_live_", {"verification": "verified", "verification_cause": "connected"},
         "Stripe-Account"),
        ("sk_live_", {"verification": "verified", "verification_cause": None}, None),
        ("sk_org_live_", {}, "Stripe-Context"),
    ],
)  # fmt: skip
def test_account_is_sent_in_the_header_that_the_key_needs(
    connection, fake_stripe, key, outcome, header
):
    replace(connection, api_key=random_api_key(key))
    if outcome:
        set_columns(connection, verification_account_id=STORED, **outcome)
    fake_stripe.sends(200, PAYMENT)
    client()[0].v1.payment_intents.retrieve("pi_1")

    [(_, headers)] = fake_stripe.requests
    sent = {name: headers.get(name) for name in ("Stripe-Account", "Stripe-Context")}
    assert sent == {"Stripe-Account": None, "Stripe-Context": None} | (
        {header: STORED} if header else {}
    )


@LIBRARY
def test_event_is_verified_with_the_current_secret(connection):
    found, _ = event(current("webhook_secret"))

    assert (found.id, found.type) == ("evt_1", "payment_intent.succeeded")


@pytest.mark.parametrize(("seconds", "is_accepted"), [(3600, True), (0, False)])
def test_previous_secret_is_accepted_during_an_overlap(connection, seconds, is_accepted):
    old = current("webhook_secret")
    services.update_connection(
        workspace=connection.workspace, biz_id="sc_abc123", actor=ACTOR, keep_seconds=seconds,
        changes={"webhook_secret": MAKE["webhook_secret"]()},
    )  # fmt: skip

    assert event(current("webhook_secret"))
    assert accepts(old) == is_accepted
    age(timedelta(hours=2))
    assert not accepts(old)


def test_undecryptable_previous_secret_does_not_matter(connection):
    services.update_connection(
        workspace=connection.workspace, biz_id="sc_abc123", actor=ACTOR, keep_seconds=60,
        changes={"webhook_secret": MAKE["webhook_secret"]()},
    )  # fmt: skip
    ReplacedSecret.objects.update(ciphertext=b"damaged")

    assert event(current("webhook_secret"))


def accepts(secret):
    try:
        event(secret)
    except library.SignatureVerificationError:
        return False
    return True


@LIBRARY
def test_old_event_is_refused(connection):
    with pytest.raises(library.SignatureVerificationError):
        event(current("webhook_secret"), at=int(time.time()) - 3600)


@LIBRARY
@pytest.mark.parametrize("payload", [b"{", b"[]x"])
def test_payload_that_is_not_json_is_refused(connection, payload):
    with pytest.raises(json.JSONDecodeError):
        event(current("webhook_secret"), payload)


def deactivate(workspace):
    workspace.is_active = False
    workspace.save()


def empty(connection, name):
    columns = ("", "_hint", "_fingerprint", "_replaced_at")
    set_columns(connection, **{f"{name}{column}": None for column in columns})


@pytest.mark.parametrize("name", USES)
@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda connection, _: replace(connection, status=0), use.InactiveError),
        (lambda connection, _: deactivate(connection.workspace), use.InactiveError),
        (lambda connection, name: set_columns(connection, **{name: b"x"}), use.UnreadableError),
        (empty, use.MissingError),
        (lambda connection, _: connection.delete(), use.UnknownError),
    ],
    ids=["inactive", "inactive workspace", "unreadable", "missing", "deleted"],
)
def test_unusable_connection_is_refused(connection, name, change, error):
    change(connection, name)
    with written_log() as log, pytest.raises(use.UnusableConnectionError) as caught:
        USES[name]()

    assert caught.type is error
    [line] = log_lines(log)
    assert line["outcome"] == error.__name__


@pytest.mark.parametrize(
    ("workspace_id", "connection_id"),
    [
        ("ws_other", "sc_abc123"),
        ("ws_demo", "sc_other"),
        ("ws_demo", "sc_\0"),
        ("", ""),
        ("ws_demo", "sk_live_x"),
    ],
)
def test_connection_of_another_workspace_is_unknown(
    connection, other_workspace, workspace_id, connection_id
):
    with pytest.raises(use.UnknownError):
        use.stripe_client(workspace_id, connection_id, purpose="test")


@pytest.mark.parametrize("name", USES)
def test_use_needs_one_statement(connection, name):
    secret = current("webhook_secret")
    calls = {"api_key": client, "webhook_secret": lambda: event(secret)}
    with CaptureQueriesContext(database) as queries:
        calls[name]()

    assert len(queries) == 1


def test_use_is_logged_and_counted(connection):
    name, labels = "connection_uses_total", {"secret": "api_key", "outcome": "ok"}
    before = REGISTRY.get_sample_value(name, labels) or 0
    request_id.set("request-7")
    with written_log() as log:
        use.stripe_client(*IDS, purpose="charge a customer")

    [line] = log_lines(log)
    wanted = {"event": "secret used", "purpose": "charge a customer", "connection": "sc_abc123"}
    assert wanted.items() <= line.items()
    assert (line["version"], line["outcome"], line["request_id"]) == (1, "ok", "request-7")
    assert REGISTRY.get_sample_value(name, labels) == before + 1


@LIBRARY
def test_nothing_shows_the_secrets(connection):
    secrets = current(), current("webhook_secret")
    with written_log() as log:
        used, _ = client()
        found, _ = event(secrets[1])
        with pytest.raises(library.SignatureVerificationError) as caught:
            event("whsec_" + "b" * 20)

    shown = f"{used!r} {used} {found!r} {caught.value!r} {vars(caught.value)} {log.getvalue()}"
    assert not any(secret in shown for secret in secrets)


def test_changed_account_is_sent_although_the_key_was_verified_before(connection, fake_stripe):
    set_columns(
        connection, verification="verified", verification_cause=None, verification_account_id=STORED
    )
    replace(StripeConnection.objects.get(), stripe_account_id=OTHER)
    fake_stripe.sends(200, PAYMENT)
    client()[0].v1.payment_intents.retrieve("pi_1")

    assert fake_stripe.requests[0][1]["Stripe-Account"] == OTHER
