"""Secrets appear nowhere except, encrypted, in their columns.

Each test plants every secret, makes a call, and then searches all output and all stored data for
each secret and for each half of it. The last tests leak a secret on purpose, to prove that the
search works.
"""

import json
import logging
import secrets
import sys
import traceback
from dataclasses import dataclass, field

import pytest
from auditlog.models import LogEntry
from cryptography.fernet import Fernet
from django.conf import settings as project_settings
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.core.serializers import serialize
from django.db import IntegrityError, OperationalError, connections
from django.db import connection as database
from django.test import RequestFactory
from django.views.debug import ExceptionReporter, SafeExceptionReporterFilter
from stripe import SignatureVerificationError

from config.observability.requests import JSONFormatter, TerminalFormatter
from config.web_chain.exceptions import InvalidFieldsError
from stripe_connections import services, use
from stripe_connections.api.serializers import UpdateConnectionSerializer
from stripe_connections.audit.records import Actor, Source
from stripe_connections.models import StripeConnection
from stripe_connections.secrets.columns import hint_of
from stripe_connections.secrets.fields import UndecryptableSecretError
from stripe_connections.secrets.keyring import keyring
from stripe_connections.undo import leaks
from stripe_connections.validation.fields import validate_api_key
from tests.conftest import (
    ApiClient,
    log_lines,
    plain,
    random_api_key,
    random_webhook_secret,
    written_log,
)
from workspaces.models import Membership, Role
from workspaces.serializers import CredentialsSerializer

pytestmark = pytest.mark.django_db(transaction=True)

LOGIN = "/web/v1/auth/token"


@dataclass
class Canaries:
    """The planted secrets, and the collected texts to search."""

    planted: dict[str, str]
    collected: list[tuple[str, bytes]] = field(default_factory=list)

    def collect(self, where, *things):
        for thing in things:
            self.collected.append(
                (where, thing if isinstance(thing, bytes) else str(thing).encode())
            )

    def found(self):
        """Return the place and the name of each secret that was found, whole or half."""
        return {
            (where, name)
            for where, text in self.collected
            for name, secret in self.planted.items()
            for half in (secret[: len(secret) // 2], secret[len(secret) // 2 :])
            if half.encode() in text
        }


@pytest.fixture
def canaries(settings, workspace, connection, make_user):
    """Plant every secret; the connection stores the first two."""
    user = make_user("canary", workspace, Role.MANAGER)
    planted = {
        "apiKey": random_api_key(),
        "webhookSecret": random_webhook_secret(),
        "portal code": secrets.token_urlsafe(32),
        "password": secrets.token_urlsafe(32),
        "signing key": project_settings.SIMPLE_JWT["SIGNING_KEY"],
        "SECRET_KEY": project_settings.SECRET_KEY,
        "first Fernet key": project_settings.FERNET_KEYS[0],
        "second Fernet key": project_settings.FERNET_KEYS[1],
    }
    settings.PORTAL_ACCESS_CODE = planted["portal code"]
    user.set_password(planted["password"])
    user.save()
    connection.replace_secret("api_key", planted["apiKey"])
    connection.replace_secret("webhook_secret", planted["webhookSecret"])
    connection.save()
    return Canaries(planted)


@pytest.fixture
def client(canaries):
    user = User.objects.get(username="canary")
    client = ApiClient(user, headers={"X-Portal-Access-Code": canaries.planted["portal code"]})
    canaries.planted["access token"] = client.defaults["HTTP_AUTHORIZATION"].removeprefix("Bearer ")
    return client


@pytest.fixture
def everything_logged(caplog, monkeypatch):
    """Set every logger to DEBUG, including SQL with its parameters."""
    for name in ["", *logging.root.manager.loggerDict]:
        caplog.set_level(logging.DEBUG, logger=name or None)
    monkeypatch.setattr(connections["default"], "force_debug_cursor", True)
    caplog.clear()
    return caplog


def raw_database():
    """Return every byte of the SQLite database, or every value in PostgreSQL's tables."""
    if database.vendor == "sqlite":
        return bytes(database.connection.serialize())
    parts = []
    with database.cursor() as cursor:
        for table in database.introspection.table_names(cursor):
            cursor.execute(f'SELECT * FROM "{table}"')
            parts += [value for row in cursor.fetchall() for value in row]
    return b"\n".join(
        bytes(part) if isinstance(part, bytes | memoryview) else str(part).encode()
        for part in parts
    )


@pytest.fixture
def look_everywhere(canaries, everything_logged, capfd):
    """Return a function that collects responses, logs, output, audit and database, and searches."""

    def look(*responses):
        for response in responses:
            canaries.collect("response", response.content, *response.headers.items())
        for record in everything_logged.records:
            canaries.collect("log", everything_logged.handler.format(record), vars(record))
            formatters = (JSONFormatter(), TerminalFormatter())
            canaries.collect("written log", *(each.format(record) for each in formatters))
        canaries.collect("output", *capfd.readouterr())
        canaries.collect("audit", *LogEntry.objects.values())
        canaries.collect("database", raw_database())
        return canaries.found()

    return look


def secret_body(canaries, **more):
    names = ("apiKey", "webhookSecret")
    return {"connectionBizId": "sc_abc123"} | {n: canaries.planted[n] for n in names} | more


def test_success_shows_no_secret(client, canaries, look_everywhere):
    response = client.update(secret_body(canaries, connectionName="New"))

    assert response.status_code == 200
    assert look_everywhere(response) == set()


def test_replaced_secret_is_deleted(client, canaries, look_everywhere):
    response = client.update(
        {
            "connectionBizId": "sc_abc123",
            "apiKey": random_api_key(),
            "webhookSecret": random_webhook_secret(),
        }
    )

    assert response.status_code == 200
    assert look_everywhere(response) == set()


@pytest.mark.parametrize("field", ["apiKey", "webhookSecret"])
def test_restored_secret_is_shown_nowhere(client, canaries, look_everywhere, field):
    new = {"apiKey": random_api_key(), "webhookSecret": random_webhook_secret()}
    replaced = client.update({"connectionBizId": "sc_abc123"} | new)
    path = f"{CONNECTIONS}/restore"
    body = {"connectionBizId": "sc_abc123", "field": field}
    restored = client.post(path, body, content_type="application/json")

    assert (replaced.status_code, restored.status_code) == (200, 200)
    assert look_everywhere(replaced, restored) == set()


def test_leaked_secret_is_shown_nowhere(client, canaries, look_everywhere):
    leaks.report(canaries.planted["apiKey"], Actor(None, Source.COMMAND))
    response = client.update(secret_body(canaries))

    assert response.status_code == 409
    assert look_everywhere(response) == set()


def test_used_secret_is_shown_nowhere(canaries, look_everywhere):
    used, _ = use.stripe_client("ws_demo", "sc_abc123", purpose="test")
    with pytest.raises(SignatureVerificationError) as caught:
        use.construct_event("ws_demo", "sc_abc123", b"{}", "t=1,v1=00")
    canaries.collect("objects", used, repr(used), repr(caught.value), vars(caught.value))

    assert look_everywhere() == set()


# The expected status, and what is sent together with the secrets.
REFUSALS = {
    "wrong portal code": (403, {}, {"headers": {"X-Portal-Access-Code": "wrong"}}),
    "no token": (401, {}, {"headers": {"Authorization": ""}}),
    "unknown workspace": (403, {}, {"workspace_id": "ws_unknown"}),
    "unknown connection": (404, {"connectionBizId": "sc_unknown"}, {}),
    "bad field": (400, {"stripeAccountId": "nonsense"}, {}),
    "unknown field": (400, {"nonsense": 1}, {}),
    "precondition": (412, {}, {"headers": {"If-Match": '"7"'}}),
    "too large": (413, {"connectionDescription": "a" * 70_000}, {}),
    "media type": (415, {}, {"content_type": "text/plain"}),
}


@pytest.mark.parametrize(("status", "more", "kwargs"), REFUSALS.values(), ids=REFUSALS)
def test_refusal_shows_no_secret(client, canaries, look_everywhere, status, more, kwargs):
    response = client.update(json.dumps(secret_body(canaries) | more), **kwargs)

    assert response.status_code == status
    assert look_everywhere(response) == set()


def test_refused_viewer_is_shown_no_secret(client, canaries, look_everywhere):
    Membership.objects.update(role=Role.VIEWER)
    response = client.update(secret_body(canaries))

    assert response.status_code == 403
    assert look_everywhere(response) == set()


MISPLACED = {
    "API key as webhook secret": {"webhookSecret": "{apiKey}"},
    "webhook secret as API key": {"apiKey": "{webhookSecret}"},
    "API key with white space": {"apiKey": "{apiKey} {apiKey}"},
    "masked": {"apiKey": "{apiKey}****"},
    "account ID": {"stripeAccountId": "{apiKey}"},
    "endpoint": {"partnerEndpoint": "https://{apiKey}@example.com/"},
    "configuration": {"configJson": "{webhookSecret}"},
    "name of a field": {"{apiKey}": "x"},
    "too long": {"connectionName": "{apiKey}" * 5},
    "business ID": {"connectionBizId": "{apiKey}{webhookSecret}"},
    "read-only field with NUL": {"status": "{apiKey}\0"},
    "portal code": {"webhookSecret": "{portal code}"},
}


@pytest.mark.parametrize("body", MISPLACED.values(), ids=MISPLACED)
def test_misplaced_secret_is_not_repeated(client, canaries, look_everywhere, body):
    body = {
        key.format(**canaries.planted): text.format(**canaries.planted)
        for key, text in body.items()
    }
    response = client.update({"connectionBizId": "sc_abc123"} | body)

    assert response.status_code == 400
    assert look_everywhere(response) == set()


@pytest.mark.parametrize(
    "body",
    [
        '{{"apiKey": "{apiKey}"',
        '{{"apiKey": {apiKey}}}',
        '{{"apiKey": "{apiKey}", "apiKey": "{webhookSecret}"}}',
        '["{apiKey}"]',
        '"{apiKey}"',
        '{{"connectionBizId": "sc_abc123", "apiKey": ["{apiKey}"]}}',
        '{{"connectionBizId": {{"{apiKey}": "{webhookSecret}"}}}}',
    ],
)
def test_malformed_body_is_not_repeated(client, canaries, look_everywhere, body):
    response = client.update(body.format(**canaries.planted))

    assert response.status_code == 400
    assert look_everywhere(response) == set()


def test_secret_as_a_token_is_not_repeated(client, canaries, look_everywhere):
    bearer = f"Bearer {canaries.planted['apiKey']}"
    response = client.update(secret_body(canaries), headers={"Authorization": bearer})

    assert response.status_code == 401
    assert look_everywhere(response) == set()


def test_secret_as_a_precondition_is_not_repeated(client, canaries, look_everywhere):
    response = client.update(
        secret_body(canaries), headers={"If-Match": f'"{canaries.planted["apiKey"]}"'}
    )

    assert response.status_code == 412
    assert look_everywhere(response) == set()


# Places where a client can put a secret by mistake, and the status of the response.
UPDATE = "/web/v1/workspaces/{}/stripe/connections/update"
CONNECTIONS = "/web/v1/workspaces/ws_demo/stripe/connections"
ASTRAY = {
    "path": ("POST", 404, "/web/{apiKey}", {}),
    "path of the admin": ("GET", 302, "/admin/{apiKey}", {}),
    "path of a page of the admin": ("GET", 302, "/admin/stripe_connections/{apiKey}/change/", {}),
    "query of the admin": ("GET", 302, "/admin/?key={apiKey}", {}),
    "path elsewhere": ("GET", 404, "/{apiKey}", {}),
    "static file": ("GET", 404, "/static/{apiKey}", {}),
    "path of a probe": ("GET", 404, "/healthz/{apiKey}", {}),
    "query of a probe": ("GET", 200, "/healthz?key={apiKey}", {}),
    "token of a probe": ("GET", 404, "/metrics", {"Authorization": "Bearer {apiKey}"}),
    "method": ("{apiKey}", 404, "/web/v1/nothing", {}),
    "workspace": ("POST", 403, UPDATE.format("{apiKey}"), {}),
    "query": ("POST", 404, "/web/v1/nothing?key={apiKey}", {}),
    "request id": ("POST", 404, "/web/v1/nothing", {"X-Request-Id": "{apiKey} {apiKey}"}),
    "other headers": ("GET", 404, "/nothing", {"Referer": "{apiKey}", "User-Agent": "{apiKey}"}),
    "scheme of the token": ("POST", 401, UPDATE.format("ws_demo"), {"Authorization": "{apiKey} x"}),
    "origin": ("POST", 403, "/admin/login/", {"Origin": "https://{apiKey}.example"}),
    "host": ("POST", 400, "/web/v1/nothing", {"Host": "{apiKey}"}),
    "query of a list": ("GET", 400, f"{CONNECTIONS}?search=a&search={{apiKey}}", {}),
    "name in a query": ("GET", 400, f"{CONNECTIONS}?{{apiKey}}=1", {}),
    "limit of a list": ("GET", 400, f"{CONNECTIONS}?limit={{apiKey}}", {}),
    "status of a list": ("GET", 400, f"{CONNECTIONS}?status={{apiKey}}", {}),
    "account of a list": ("GET", 200, f"{CONNECTIONS}?stripeAccountId={{apiKey}}", {}),
    "cause of a list": ("GET", 400, f"{CONNECTIONS}?cause={{apiKey}}", {}),
    "order of a list": ("GET", 400, f"{CONNECTIONS}?sort={{apiKey}}", {}),
    "page of a sorted list": (
        "GET",
        200,
        f"{CONNECTIONS}?sort=name&after=sc_abc123~{{apiKey}}",
        {},
    ),
    "page of workspaces": ("GET", 400, "/web/v1/workspaces?after={apiKey}", {}),
    "query of workspaces": ("GET", 400, "/web/v1/workspaces?{apiKey}=1", {}),
    "page of a list": ("GET", 400, f"{CONNECTIONS}?after={{apiKey}}", {}),
    "search": ("GET", 200, f"{CONNECTIONS}?search={{apiKey}}", {}),
    "query of a detail": ("GET", 200, f"{CONNECTIONS}/sc_abc123?{{apiKey}}={{apiKey}}", {}),
    "id of a detail": ("GET", 404, f"{CONNECTIONS}/{{apiKey}}", {}),
    "id with the prefix": ("GET", 404, f"{CONNECTIONS}/sc_{{apiKey}}", {}),
    "id of a history": ("GET", 404, f"{CONNECTIONS}/{{apiKey}}/history", {}),
    "name in the query of a history": (
        "GET",
        400,
        f"{CONNECTIONS}/sc_abc123/history?{{webhookSecret}}=1",
        {},
    ),
    "number in a history": ("GET", 400, f"{CONNECTIONS}/sc_abc123/history?before={{apiKey}}", {}),
    "key of an empty creation": (
        "POST",
        415,
        f"{CONNECTIONS}/create",
        {"Idempotency-Key": "{apiKey}"},
    ),
    "host of the admin": ("POST", 400, "/admin/login/", {"Host": "{apiKey}"}),
}


@pytest.mark.only_on("sqlite", reason="the log is the same")
@pytest.mark.parametrize(("method", "status", "path", "headers"), ASTRAY.values(), ids=ASTRAY)
def test_secret_in_the_wrong_place_is_not_logged(canaries, client, method, status, path, headers):
    def planted(text):
        return text.format(**canaries.planted)

    headers = {"X-Forwarded-Proto": "https"} | {n: planted(value) for n, value in headers.items()}
    browser = ApiClient(enforce_csrf_checks=True, headers=headers)
    browser.defaults = client.defaults | browser.defaults
    with written_log() as log:
        logging.getLogger("config.request").setLevel("DEBUG")
        response = browser.generic(planted(method), planted(path))
        logging.getLogger("config.request").setLevel("NOTSET")
    canaries.collect("written log", log.getvalue())

    assert response.status_code == status
    assert [line["status"] for line in log_lines(log) if line["event"] == "request"] == [status]
    assert canaries.found() == set()


def create(client, body, key):
    headers = {"Idempotency-Key": key}
    path = f"{CONNECTIONS}/create"
    return client.post(path, body, content_type="application/json", headers=headers)


def new_secrets(canaries, **more):
    body = {name: canaries.planted[name] for name in ("apiKey", "webhookSecret")}
    return {"connectionName": "New"} | body | more


def test_creation_and_replay_show_no_secret(client, canaries, look_everywhere):
    """The idempotency key is a secret, too."""
    key = canaries.planted["apiKey"]
    responses = [create(client, new_secrets(canaries), key) for _ in range(2)]
    responses.append(create(client, new_secrets(canaries, connectionName="Other"), key))

    assert [response.status_code for response in responses] == [200, 200, 422]
    assert look_everywhere(*responses) == set()


@pytest.mark.parametrize(
    ("body", "key"),
    [
        ({"stripeAccountId": "nonsense"}, "key"),
        ({"connectionBizId": "sc_abc123"}, "key"),
        ({}, "{apiKey}{apiKey}{apiKey}{apiKey}{apiKey}"),
        ({"partnerEndpoint": "https://{apiKey}@example.com/"}, "key"),
        ({"{apiKey}": 1}, "key"),
    ],
)
def test_refused_creation_shows_no_secret(client, canaries, look_everywhere, body, key):
    body = {name.format(**canaries.planted): value for name, value in body.items()}
    body = json.dumps(new_secrets(canaries) | body).replace("{apiKey}", canaries.planted["apiKey"])

    response = create(client, body, key.format(**canaries.planted))

    assert response.status_code == 400
    assert look_everywhere(response) == set()


def test_creation_that_fails_shows_no_secret(client, canaries, look_everywhere):
    def refuse(execute, sql, *args):
        if "INSERT" in sql:
            raise IntegrityError("refused")
        return execute(sql, *args)

    with database.execute_wrapper(refuse):
        response = create(client, new_secrets(canaries), canaries.planted["webhookSecret"])

    assert response.status_code == 500
    assert look_everywhere(response) == set()


@pytest.mark.parametrize("call", ["list", "detail", "history", "status"])
def test_other_calls_show_no_secret(client, canaries, look_everywhere, call):
    changed = client.update(secret_body(canaries, connectionName="New"))

    response = client.call(call)

    assert (changed.status_code, response.status_code) == (200, 200)
    assert look_everywhere(changed, response) == set()


def test_detail_sent_back_with_a_secret_does_not_show_it(client, canaries, look_everywhere):
    shown = client.call("detail").json()["data"]

    response = client.update(shown | {"apiKey": canaries.planted["apiKey"]})

    assert response.status_code == 200
    assert look_everywhere(response) == set()


def test_crash_shows_no_secret(client, canaries, look_everywhere, monkeypatch):
    def crash(*, changes, **kwargs):
        local = f"a frame that holds {changes['api_key']}"
        raise RuntimeError("boom") from KeyError(len(local))

    monkeypatch.setattr(services, "update_connection", crash)
    response = client.update(secret_body(canaries))

    assert response.status_code == 500
    assert look_everywhere(response) == set()


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (("rejects",), 400),
        (("knows", "acct_other"), 400),
        (("repeats", 200), 200),
        (("repeats", 400), 200),
        (("repeats", 403), 200),
        (("repeats", 429), 200),
        (("repeats", 500), 200),
        (("is_silent",), 200),
    ],
    ids=str,
)
def test_verification_shows_no_secret(client, canaries, look_everywhere, stripe, answer, status):
    name, *arguments = answer
    getattr(stripe, name)(*arguments)

    response = client.update(secret_body(canaries, stripeAccountId="acct_given"))

    assert response.status_code == status
    assert stripe.keys[0] == canaries.planted["apiKey"]
    assert look_everywhere(response) == set()


@pytest.mark.parametrize(
    ("answer", "status"),
    [("rejects", 200), ("is_silent", 503)],
)
def test_verify_call_shows_no_secret(client, canaries, look_everywhere, stripe, answer, status):
    getattr(stripe, answer)()
    path = "/web/v1/workspaces/ws_demo/stripe/connections/verify"

    response = client.post(path, {"connectionBizId": "sc_abc123"}, "application/json")

    assert response.status_code == status
    assert stripe.keys == [canaries.planted["apiKey"]]
    assert look_everywhere(response) == set()


@pytest.mark.parametrize(("error", "status"), [(IntegrityError, 500), (OperationalError, 503)])
def test_failing_database_shows_no_secret(client, canaries, look_everywhere, error, status):
    def refuse(execute, sql, *args):
        if "UPDATE stripe_connections_stripeconnection" in sql:
            raise error("refused")
        return execute(sql, *args)

    with database.execute_wrapper(refuse):
        response = client.update(secret_body(canaries))

    assert response.status_code == status
    assert look_everywhere(response) == set()


def test_login_shows_no_secret(client, canaries, look_everywhere):
    credentials = {"username": "canary", "password": canaries.planted["password"]}
    response = client.post(LOGIN, credentials, content_type="application/json")
    tokens = response.json()["data"]
    refreshed = client.post(
        f"{LOGIN}/refresh",
        {"refreshToken": tokens["refreshToken"]},
        content_type="application/json",
    )

    assert (response.status_code, refreshed.status_code) == (200, 200)
    assert look_everywhere(response, refreshed) == set()


def test_issued_tokens_are_not_stored(client, canaries, look_everywhere):
    credentials = {"username": "canary", "password": canaries.planted["password"]}
    tokens = client.post(LOGIN, credentials, content_type="application/json").json()["data"]
    canaries.planted |= {"new access": tokens["accessToken"], "new refresh": tokens["refreshToken"]}
    client.post(
        f"{LOGIN}/refresh",
        {"refreshToken": tokens["refreshToken"]},
        content_type="application/json",
    )

    assert look_everywhere() == set()


@pytest.mark.parametrize(
    "credentials",
    [
        {"username": "canary", "password": "{password}x"},
        {"username": "unknown", "password": "{password}"},
        {"username": "canary", "password": ["{password}"]},
        {"username": "canary", "passwort": "{password}"},
        {"username": "{password}", "password": "{password}"},
    ],
)
def test_failed_login_shows_no_password(client, canaries, credentials):
    text = json.dumps(credentials).replace("{password}", canaries.planted["password"])
    response = client.post(LOGIN, text, content_type="application/json")
    canaries.collect("response", response.content, *response.headers.items())
    canaries.collect("database", raw_database())

    assert response.status_code in {400, 401}
    assert canaries.found() == set()


def crash_of(call):
    """Return the exception that `call` raises."""
    try:
        call()
    except Exception as error:  # the test searches any exception
        return error
    raise AssertionError("nothing was raised")


def chain(error):
    """Yield an exception and its causes and contexts."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def described(error):
    for link in chain(error):
        yield from (str(link), repr(link), repr(link.args), repr(getattr(link, "detail", None)))
        yield repr(getattr(link, "errors", None))
    yield from traceback.format_exception(error)


FAILURES = {
    "no text": (
        TypeError,
        lambda planted: StripeConnection.objects.update(api_key=planted["apiKey"].encode()),
    ),
    "no hint": (TypeError, lambda planted: hint_of(planted["apiKey"].encode())),
    "no instance": (
        TypeError,
        lambda planted: StripeConnection.objects.update(api_key=planted["apiKey"]),
    ),
    "no fixture": (TypeError, lambda _: serialize("json", StripeConnection.objects.all())),
    "undecryptable": (
        UndecryptableSecretError,
        lambda _: plain(StripeConnection.objects.get(), "api_key"),
    ),
    "constraint": (
        IntegrityError,
        lambda planted: services.update_connection(
            workspace=StripeConnection.objects.get().workspace,
            biz_id="sc_abc123",
            changes={"api_key": planted["apiKey"], "status": 7},
            actor=Actor(None, Source.COMMAND),
        ),
    ),
    "validator": (ValidationError, lambda planted: validate_api_key(planted["webhookSecret"])),
    "serializer": (
        InvalidFieldsError,
        lambda planted: UpdateConnectionSerializer(
            data={"apiKey": planted["webhookSecret"], planted["apiKey"]: 1}
        ).is_valid(raise_exception=True),
    ),
}


@pytest.mark.parametrize(("kind", "call"), FAILURES.values(), ids=FAILURES)
def test_exception_and_its_chain_show_no_secret(canaries, settings, kind, call):
    # With only this key, no stored secret can be decrypted.
    settings.FERNET_KEYS = [Fernet.generate_key().decode()]
    error = crash_of(lambda: call(canaries.planted))
    canaries.collect("exception", *described(error))

    assert isinstance(error, kind)
    assert canaries.found() == set()


def test_objects_show_no_secret_when_printed(canaries, workspace):
    user = User.objects.get(username="canary")
    connection = StripeConnection.objects.defer(None).get()
    assert plain(connection, "api_key") == canaries.planted["apiKey"]
    body = UpdateConnectionSerializer(data=secret_body(canaries))
    assert body.is_valid()
    login = CredentialsSerializer(
        data={"username": "canary", "password": canaries.planted["password"]}
    )
    assert login.is_valid()
    things = [
        connection,
        StripeConnection.objects.all(),
        connection.api_key,
        StripeConnection.objects.values("api_key", "webhook_secret"),
        keyring().keys,
        Actor(user, Source.API, "request-1"),
        keyring(),
        body,
        body.fields,
        login,
        login.fields,
        user,
    ]
    canaries.collect("print", *map(str, things), *map(repr, things))

    assert canaries.found() == set()


def error_page(canaries, render, **attributes):
    """Return Django's error page for a request that contains every secret."""
    planted = canaries.planted
    request = RequestFactory().post(
        "/admin/",
        {"api_key": planted["apiKey"], "webhook_secret": planted["webhookSecret"]},
        headers={
            "X-Portal-Access-Code": planted["portal code"],
            "Authorization": f"Bearer {planted['signing key']}",
            "Cookie": f"sessionid={planted['password']}",
        },
    )

    vars(request).update(attributes)

    def crash():
        local = dict(planted)
        raise RuntimeError("boom") from KeyError(len(local))

    crash_of_it = crash_of(crash)
    reporter = ExceptionReporter(
        request, type(crash_of_it), crash_of_it, crash_of_it.__traceback__, is_email=False
    )
    return getattr(reporter, render)()


@pytest.mark.parametrize("render", ["get_traceback_html", "get_traceback_text"])
@pytest.mark.parametrize("debug", [True, False])
def test_error_page_shows_no_secret(canaries, settings, render, debug):
    settings.DEBUG = debug
    page = error_page(canaries, render)
    canaries.collect("page", page)

    assert "boom" in page
    assert canaries.found() == set()


# ── Does the search find a leak? ──────────────────────────────────────────────────────────────
def test_secret_in_a_plain_field_is_found_in_every_sink(client, canaries, look_everywhere):
    response = client.update(secret_body(canaries, connectionName=canaries.planted["apiKey"]))

    assert response.status_code == 200
    assert look_everywhere(response) == {
        (where, "apiKey") for where in ("response", "log", "written log", "audit", "database")
    }


@pytest.mark.parametrize("part", [slice(None, 28), slice(28, None)], ids=["first", "second"])
def test_half_a_secret_is_found(client, canaries, look_everywhere, part):
    half = canaries.planted["apiKey"][part]
    client.update({"connectionBizId": "sc_abc123", "connectionName": half})

    assert ("database", "apiKey") in look_everywhere()


@pytest.mark.parametrize("name", ["password", "portal code", "signing key", "first Fernet key"])
def test_any_secret_is_found_in_a_log_line(canaries, look_everywhere, name):
    logging.getLogger("anybody").debug("it is %s", canaries.planted[name])

    assert look_everywhere() >= {("log", name), ("written log", name)}


def test_secret_that_is_printed_is_found(canaries, look_everywhere):
    sys.stderr.write(canaries.planted["password"])
    sys.stderr.flush()

    assert look_everywhere() == {("output", "password")}


def test_secret_in_an_exception_of_the_chain_is_found(canaries):
    error = ValueError("harmless")
    error.__context__ = KeyError(canaries.planted["apiKey"])
    error.__suppress_context__ = True
    canaries.collect("exception", *described(error))

    assert canaries.found() == {("exception", "apiKey")}


@pytest.mark.parametrize("render", ["get_traceback_html", "get_traceback_text"])
def test_secrets_in_a_page_with_djangos_own_filter_are_found(canaries, settings, render):
    settings.DEBUG = True
    default_filter = SafeExceptionReporterFilter()
    page = error_page(canaries, render, exception_reporter_filter=default_filter)
    canaries.collect("page", page)

    assert {name for _, name in canaries.found()} >= {"apiKey", "portal code"}
