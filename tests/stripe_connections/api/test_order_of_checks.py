"""The order of checks: portal, token, permission, method and body, connection, If-Match.

Each request passes the first checks and fails all others. The first one that fails decides.
"""

import json

import pytest

from stripe_connections.models import StripeConnection
from tests.conftest import CALLS, ApiClient, connections_path, update_path

GOOD = json.dumps({"connectionBizId": "sc_abc123", "connectionName": "New"})
NOT_FOUND = json.dumps({"connectionBizId": "sc_nothere", "connectionName": "New"})
BAD_FIELD = json.dumps({"connectionBizId": "sc_nothere", "connectionName": ""})
CREATED = json.dumps({"connectionName": "New"})
BAD_KEY = {"Idempotency-Key": ""}
STALE = {"If-Match": '"99"'}
CODE = {"X-PORTAL-ACCESS-CODE": "code-one"}


@pytest.fixture(autouse=True)
def portal(settings):
    settings.PORTAL_ACCESS_CODE = "code-one"


@pytest.fixture
def anonymous(db):
    return ApiClient()


def decision(response):
    return response.status_code, response.json()["code"]


@pytest.fixture
def clients(anonymous, viewer, outsider, manager):
    return {"anonymous": anonymous, "viewer": viewer, "outsider": outsider, "manager": manager}


# Client, method, content type, body, headers, and the expected status and code.
UPDATES = [
    # The portal, before anything else.
    ("anonymous", "GET", "text/plain", "{", STALE, 403, "4030"),
    ("viewer", "GET", "text/plain", "{", STALE, 403, "4030"),
    ("manager", "POST", "text/plain", "x" * 70_000, STALE, 403, "4030"),
    ("manager", "POST", "application/json", GOOD, {}, 403, "4030"),
    # The token.
    ("anonymous", "GET", "text/plain", "{", CODE | STALE, 401, "4010"),
    ("anonymous", "POST", "text/plain", "{", CODE | STALE, 401, "4010"),
    ("anonymous", "POST", "application/json", BAD_FIELD, CODE | STALE, 401, "4010"),
    ("anonymous", "POST", "application/json", GOOD, CODE, 401, "4010"),
    # The permission.
    ("viewer", "GET", "text/plain", "{", CODE | STALE, 403, "4030"),
    ("viewer", "POST", "text/plain", "{", CODE | STALE, 403, "4030"),
    ("viewer", "POST", "application/json", "{", CODE | STALE, 403, "4030"),
    ("viewer", "POST", "application/json", "", CODE | STALE, 403, "4030"),
    ("viewer", "POST", "application/json", BAD_FIELD, CODE | STALE, 403, "4030"),
    ("viewer", "POST", "application/json", NOT_FOUND, CODE | STALE, 403, "4030"),
    ("outsider", "PUT", "text/plain", "{", CODE | STALE, 403, "4030"),
    ("outsider", "POST", "application/json", GOOD, CODE, 403, "4030"),
    # Method and body.
    ("manager", "GET", "text/plain", "{", CODE | STALE, 405, "4050"),
    ("manager", "PUT", "application/json", GOOD, CODE | STALE, 405, "4050"),
    ("manager", "POST", "text/plain", "{", CODE | STALE, 415, "4150"),
    ("manager", "POST", "text/plain", BAD_FIELD, CODE | STALE, 415, "4150"),
    ("manager", "POST", "application/json", "{", CODE | STALE, 400, "4000"),
    ("manager", "POST", "application/json", BAD_FIELD, CODE | STALE, 400, "4000"),
    # The connection.
    ("manager", "POST", "application/json", NOT_FOUND, CODE | STALE, 404, "4040"),
    ("manager", "POST", "application/json", NOT_FOUND, CODE, 404, "4040"),
    # If-Match.
    ("manager", "POST", "application/json", GOOD, CODE | STALE, 412, "4120"),
]


@pytest.mark.usefixtures("untouched")
def test_first_failed_check_decides(clients):
    def decide(who, method, content_type, body, headers):
        client = clients[who]
        return decision(client.generic(method, update_path(), body, content_type, headers=headers))

    found = {number: decide(*case[:-2]) for number, case in enumerate(UPDATES)}
    assert found == {number: case[-2:] for number, case in enumerate(UPDATES)}


def test_request_that_passes_all_checks_succeeds(manager, connection):
    response = manager.update(GOOD, headers=CODE | {"If-Match": '"1"'})

    assert response.status_code == 200


@pytest.mark.parametrize("who", ["anonymous", "viewer", "manager"])
def test_too_large_body_is_refused_before_other_checks(request, assert_refused, who):
    client = request.getfixturevalue(who)

    response = client.update("x" * 70_000, headers=CODE)

    assert_refused(response, 413, "4130")


@pytest.mark.parametrize("who", ["manager", "anonymous"])
def test_portal_code_is_checked_before_the_host(request, assert_refused, who):
    client = request.getfixturevalue(who)

    response = client.update(GOOD, headers={"Host": "evil.example"})

    assert_refused(response, 403, "4030")


# Client, method, path, content type, body, headers, and the expected status and code.
OTHERS = {
    "list": [
        ("manager", "POST", "?limit=0", "text/plain", "{", {}, 403, "4030"),
        ("anonymous", "POST", "?limit=0", "text/plain", "{", CODE, 401, "4010"),
        ("outsider", "POST", "?limit=0", "text/plain", "{", CODE, 403, "4030"),
        ("viewer", "POST", "?limit=0", "text/plain", "{", CODE, 405, "4050"),
        ("viewer", "GET", "?limit=0", "text/plain", "", CODE, 400, "4000"),
    ],
    "detail": [
        ("manager", "POST", "/sc_nothere", "text/plain", "{", {}, 403, "4030"),
        ("anonymous", "POST", "/sc_nothere", "text/plain", "{", CODE, 401, "4010"),
        ("outsider", "POST", "/sc_nothere", "text/plain", "{", CODE, 403, "4030"),
        ("outsider", "GET", "/sc_abc123", "text/plain", "", CODE, 403, "4030"),
        ("viewer", "POST", "/sc_nothere", "text/plain", "{", CODE, 405, "4050"),
        ("viewer", "GET", "/sc_nothere", "text/plain", "", CODE, 404, "4040"),
    ],
    "history": [
        ("manager", "POST", "/sc_nothere/history?limit=0", "text/plain", "{", {}, 403, "4030"),
        ("anonymous", "POST", "/sc_nothere/history?limit=0", "text/plain", "{", CODE, 401, "4010"),
        ("viewer", "POST", "/sc_nothere/history?limit=0", "text/plain", "{", CODE, 403, "4030"),
        ("viewer", "GET", "/sc_abc123/history", "text/plain", "", CODE, 403, "4030"),
        ("manager", "POST", "/sc_nothere/history?limit=0", "text/plain", "{", CODE, 405, "4050"),
        ("manager", "GET", "/sc_nothere/history?limit=0", "text/plain", "", CODE, 400, "4000"),
        ("manager", "GET", "/sc_nothere/history", "text/plain", "", CODE, 404, "4040"),
    ],
    "create": [
        ("manager", "GET", "/create", "text/plain", "{", BAD_KEY, 403, "4030"),
        ("anonymous", "GET", "/create", "text/plain", "{", CODE | BAD_KEY, 401, "4010"),
        ("viewer", "GET", "/create", "text/plain", "{", CODE | BAD_KEY, 403, "4030"),
        ("viewer", "POST", "/create", "application/json", CREATED, CODE, 403, "4030"),
        ("manager", "GET", "/create", "text/plain", "{", CODE | BAD_KEY, 405, "4050"),
        ("manager", "POST", "/create", "text/plain", "{", CODE | BAD_KEY, 415, "4150"),
        ("manager", "POST", "/create", "application/json", "{", CODE | BAD_KEY, 400, "4000"),
        ("manager", "POST", "/create", "application/json", "{}", CODE, 400, "4000"),
        ("manager", "POST", "/create", "application/json", CREATED, CODE | BAD_KEY, 400, "4000"),
    ],
}


@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize("cases", OTHERS.values(), ids=OTHERS)
def test_first_failed_check_decides_in_other_calls(clients, cases):
    def decide(who, method, path, content_type, body, headers):
        path = f"{connections_path()}{path}"
        return decision(clients[who].generic(method, path, body, content_type, headers=headers))

    found = {number: decide(*case[:-2]) for number, case in enumerate(cases)}
    assert found == {number: case[-2:] for number, case in enumerate(cases)}
    assert StripeConnection.objects.count() == 1


@pytest.mark.parametrize("call", CALLS)
def test_wrong_method_is_405(manager, assert_refused, call):
    """GET for a call that needs POST, and POST for a call that needs GET."""
    method, path, _ = CALLS[call]
    other = {"GET": "POST", "POST": "GET"}[method]

    response = manager.generic(
        other, connections_path() + path.format(biz_id="sc_abc123"), headers=CODE
    )

    assert_refused(response, 405, "4050")
    assert response["Allow"] == method
