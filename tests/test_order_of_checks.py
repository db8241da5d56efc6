"""Who gets in, in this order: portal, token, permission, method and body, connection, If-Match.

A request has every fault of the list from one place on; the first of them decides.
"""

import json

import pytest

from tests.conftest import ApiClient, update_path

GOOD = json.dumps({"connectionBizId": "sc_abc123", "connectionName": "New"})
NOT_FOUND = json.dumps({"connectionBizId": "sc_nothere", "connectionName": "New"})
BAD_FIELD = json.dumps({"connectionBizId": "sc_nothere", "connectionName": ""})
STALE = {"If-Match": '"99"'}
CODE = {"X-PORTAL-ACCESS-CODE": "code-one"}


@pytest.fixture(autouse=True)
def portal(settings):
    settings.PORTAL_ACCESS_CODE = "code-one"


@pytest.fixture
def anonymous(db):
    return ApiClient()


@pytest.mark.parametrize(
    ("who", "method", "content_type", "body", "headers", "status", "code"),
    [
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
    ],
    ids=range(23),
)
def test_the_first_fault_decides(
    request, assert_refused, who, method, content_type, body, headers, status, code
):
    client = request.getfixturevalue(who)

    response = client.generic(method, update_path(), body, content_type, headers=headers)

    assert_refused(response, status, code)


def test_without_any_fault_it_is_done(manager, connection):
    response = manager.update(GOOD, headers=CODE | {"If-Match": '"1"'})

    assert response.status_code == 200


@pytest.mark.parametrize("who", ["anonymous", "viewer", "manager"])
def test_a_body_too_large_may_be_refused_first_of_all(request, assert_refused, who):
    client = request.getfixturevalue(who)

    response = client.update("x" * 70_000, headers=CODE)

    assert_refused(response, 413, "4130")


@pytest.mark.parametrize("who", ["manager", "anonymous"])
def test_portal_is_asked_before_the_host(request, assert_refused, who):
    client = request.getfixturevalue(who)

    response = client.update(GOOD, headers={"Host": "evil.example"})

    assert_refused(response, 403, "4030")


@pytest.mark.parametrize(
    "body", [GOOD, NOT_FOUND, BAD_FIELD, "{", ""], ids=["good", "404", "field", "json", "empty"]
)
def test_a_viewer_learns_nothing_from_the_body(viewer, assert_refused, body):
    response = viewer.update(body, headers=CODE)

    refusal = assert_refused(response, 403, "4030")
    assert (refusal["message"], "errors" in refusal) == ("Forbidden", False)
