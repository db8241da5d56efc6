"""CORS: the origins that may call, and what they can read. `tests/deploy` uses a browser."""

import pytest
from django.conf import settings as project_settings

from tests.conftest import ApiClient, update_path

ORIGIN = "https://app.example.com"
PREFLIGHT = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "if-match"}


@pytest.fixture
def allowed(settings):
    settings.CORS_ALLOWED_ORIGINS = ["https://other.example.com", ORIGIN]


def preflight(origin=ORIGIN, path=None, **headers):
    return ApiClient().options(
        path or update_path(), headers=PREFLIGHT | {"Origin": origin, **headers}
    )


def cors_headers(response):
    names = ("access-control-", "vary")
    return {n.lower(): v for n, v in response.headers.items() if n.lower().startswith(names)}


def names_in(header):
    return {name.strip().lower() for name in header.split(",")}


def test_no_header_is_sent_without_the_setting(manager, connection):
    response = manager.update({"connectionBizId": "sc_abc123"}, headers={"Origin": ORIGIN})

    assert project_settings.CORS_ALLOWED_ORIGINS == []
    assert cors_headers(response) == {}
    assert cors_headers(preflight()) == {}
    assert preflight().status_code == 401


def test_preflight_needs_no_token(db, allowed):
    response = preflight()

    assert (response.status_code, response.content) == (200, b"")
    assert response["Access-Control-Allow-Origin"] == ORIGIN
    assert names_in(response["Access-Control-Allow-Methods"]) == {"get", "post"}
    assert names_in(response["Access-Control-Allow-Headers"]) == {
        "authorization",
        "content-type",
        "idempotency-key",
        "if-match",
    }


def test_preflight_needs_no_query(db, allowed, django_assert_num_queries):
    with django_assert_num_queries(0):
        preflight()


@pytest.mark.only_on("sqlite", reason="no query is made")
@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "http://app.example.com",
        "https://app.example.com:8443",
        "https://app.example.com.evil.example",
        "https://APP.example.com",
        "https://x.app.example.com",
        "null",
        "*",
        "https://[",
        "",
    ],
)
def test_preflight_of_another_origin_is_401(db, allowed, origin):
    response = preflight(origin)

    assert response.status_code == 401
    assert cors_headers(response) == {"vary": "origin"}


def test_options_without_a_preflight_is_405(manager, connection, allowed):
    response = manager.options(update_path(), headers={"Origin": ORIGIN})

    assert response.status_code == 405


def test_portal_code_is_checked_before_a_preflight(db, allowed, settings):
    settings.PORTAL_ACCESS_CODE = "code"

    assert preflight().status_code == 403
    assert preflight(**{"X-PORTAL-ACCESS-CODE": "code"}).status_code == 200


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        ({}, {}, 200),
        ({"nonsense": 1}, {}, 400),
        ({}, {"Authorization": ""}, 401),
        ({"connectionBizId": "sc_unknown"}, {}, 404),
        ({}, {"If-Match": '"7"'}, 412),
    ],
)
def test_page_can_read_every_response(manager, connection, allowed, body, headers, status):
    body = {"connectionBizId": "sc_abc123"} | body

    response = manager.update(body, headers={"Origin": ORIGIN} | headers)

    assert response.status_code == status
    assert response["Access-Control-Allow-Origin"] == ORIGIN
    assert names_in(response["Access-Control-Expose-Headers"]) == {
        "etag",
        "idempotent-replayed",
        "retry-after",
        "x-request-id",
    }
    assert "Access-Control-Allow-Credentials" not in response
    assert response["Vary"] == "origin"


@pytest.mark.parametrize("origin", ["https://evil.example", "null"])
def test_page_of_another_origin_cannot_read_the_response(manager, connection, allowed, origin):
    response = manager.update({"connectionBizId": "sc_abc123"}, headers={"Origin": origin})

    assert response.status_code == 200
    assert cors_headers(response) == {"vary": "origin"}


@pytest.mark.parametrize("path", ["/admin/login/", "/openapi.json", "/healthz", "/docs/"])
def test_pages_outside_the_api_have_no_cors_headers(db, allowed, path):
    response = ApiClient().get(path, headers={"Origin": ORIGIN, "X-Forwarded-Proto": "https"})

    assert "Access-Control-Allow-Origin" not in response
