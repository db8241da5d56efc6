"""A refusal does not repeat a secret, wherever it was sent by mistake."""

import json
import logging

import pytest

from tests.conftest import ApiClient, log_lines, written_log
from tests.stripe_connections.canary.conftest import (
    CONNECTIONS,
    LOGIN,
    create,
    new_secrets,
    raw_database,
    secret_body,
)
from workspaces.models import Membership, Role

pytestmark = [
    pytest.mark.django_db,
    pytest.mark.only_on("sqlite", reason="what is refused does not reach the database"),
]


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


def statuses(canaries, responses):
    """Collect the responses for the search, and return their statuses."""
    for kind, response in responses.items():
        canaries.collect(kind, response.content, *response.headers.items())
    return {kind: response.status_code for kind, response in responses.items()}


def test_misplaced_secret_is_not_repeated(client, canaries, look_everywhere):
    def send(body):
        filled = {
            key.format(**canaries.planted): text.format(**canaries.planted)
            for key, text in body.items()
        }
        return client.update({"connectionBizId": "sc_abc123"} | filled)

    responses = {kind: send(body) for kind, body in MISPLACED.items()}

    assert statuses(canaries, responses) == dict.fromkeys(MISPLACED, 400)
    assert look_everywhere() == set()


MALFORMED = [
    '{{"apiKey": "{apiKey}"',
    '{{"apiKey": {apiKey}}}',
    '{{"apiKey": "{apiKey}", "apiKey": "{webhookSecret}"}}',
    '["{apiKey}"]',
    '"{apiKey}"',
    '{{"connectionBizId": "sc_abc123", "apiKey": ["{apiKey}"]}}',
    '{{"connectionBizId": {{"{apiKey}": "{webhookSecret}"}}}}',
]


def test_malformed_body_is_not_repeated(client, canaries, look_everywhere):
    responses = {body: client.update(body.format(**canaries.planted)) for body in MALFORMED}

    assert statuses(canaries, responses) == dict.fromkeys(MALFORMED, 400)
    assert look_everywhere() == set()


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


@pytest.fixture
def every_request_logged():
    logging.getLogger("config.request").setLevel("DEBUG")
    yield
    logging.getLogger("config.request").setLevel("NOTSET")


@pytest.mark.usefixtures("every_request_logged")
def test_secret_in_the_wrong_place_is_not_logged(canaries, client):
    def planted(text):
        return text.format(**canaries.planted)

    def send(kind, method, path, headers):
        """Return the statuses in the response and in the log."""
        headers = {name: planted(value) for name, value in headers.items()}
        browser = ApiClient(
            enforce_csrf_checks=True, headers={"X-Forwarded-Proto": "https"} | headers
        )
        browser.defaults = client.defaults | browser.defaults
        with written_log() as log:
            response = browser.generic(planted(method), planted(path))
        canaries.collect(kind, log.getvalue())
        logged = [line["status"] for line in log_lines(log) if line["event"] == "request"]
        return [response.status_code, *logged]

    found = {
        kind: send(kind, method, path, headers)
        for kind, (method, _, path, headers) in ASTRAY.items()
    }
    assert found == {kind: [status, status] for kind, (_, status, *_) in ASTRAY.items()}
    assert canaries.found() == set()


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
