"""Every response has the security headers."""

import pytest
from django.urls import include, path

from tests.conftest import ApiClient, update_path
from tests.stripe_connections.admin.conftest import StaffClient, change_url

pytestmark = pytest.mark.only_on("sqlite", reason="headers do not depend on the database")

NAMED = '{"connectionBizId": "sc_abc123", "connectionName": "New"}'
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}
HSTS = "max-age=31536000; includeSubDomains; preload"


def crash(request):
    raise RuntimeError("do not show")


urlpatterns = [
    path("", include("config.urls")),
    path("crash", crash),
    path("web/crash", crash),
]

ANSWERS = {
    "update": ("POST", update_path(), 200),
    "other method": ("GET", update_path(), 405),
    "token": ("POST", "/web/v1/auth/token", 400),
    "unknown call": ("GET", "/web/unknown", 404),
    "crash of a call": ("POST", "/web/crash", 500),
    "admin": ("GET", "/admin/", 200),
    "admin's redirect": ("GET", "/admin", 301),
    "admin's 404": ("GET", "/admin/unknown/", 404),
    "form": ("GET", "{connection}", 200),
    "unknown page": ("GET", "/unknown", 404),
    "crash of a page": ("GET", "/crash", 500),
    "style sheet": ("GET", "/static/admin/css/base.css", 200),
    "script": ("GET", "/static/admin/js/core.js", 200),
    "unknown file": ("GET", "/static/unknown", 404),
    "alive": ("GET", "/healthz", 200),
    "ready": ("GET", "/readyz", 200),
    "ready, other method": ("POST", "/readyz", 405),
    "metrics": ("GET", "/metrics", 404),
}


@pytest.fixture
def staff(admin_user, manager):
    """A superuser with a token, behind a proxy that terminates TLS."""
    client = StaffClient(admin_user)
    client.raise_request_exception = False
    client.defaults["HTTP_AUTHORIZATION"] = manager.defaults["HTTP_AUTHORIZATION"]
    return client


@pytest.mark.urls(__name__)
@pytest.mark.parametrize(("method", "url", "status"), ANSWERS.values(), ids=ANSWERS)
def test_every_response_has_the_headers(staff, connection, method, url, status):
    url = url.format(connection=change_url(connection))
    response = staff.generic(method, url, NAMED, content_type="application/json")
    response.getvalue()

    assert response.status_code == status
    assert {name: response.headers.get(name) for name in HEADERS} == HEADERS
    assert response.headers["Strict-Transport-Security"] == HSTS
    assert "frame-ancestors 'none'" in response.headers["Content-Security-Policy"]
    assert "unsafe" not in response.headers["Content-Security-Policy"]
    assert response.headers["X-Request-Id"] == "request-1"
    assert b"do not show" not in getattr(response, "content", b"")


@pytest.mark.parametrize("url", ["/web/unknown", "/healthz"])
def test_hsts_is_not_sent_over_plain_http(db, url):
    response = ApiClient().get(url)

    assert "Strict-Transport-Security" not in response.headers
    assert {name: response.headers.get(name) for name in HEADERS} == HEADERS


@pytest.mark.parametrize("url", ["/admin/", "/static/admin/css/base.css", "/unknown"])
def test_pages_redirect_to_https(db, url):
    response = ApiClient().get(url)

    assert response.status_code == 301
    assert response["Location"].startswith("https://testserver/")
    assert {name: response.headers.get(name) for name in HEADERS} == HEADERS


EVERYWHERE = [
    (url, scheme)
    for url in (
        "/admin/", "/admin/login/", "/unknown", "/", "/static/admin/css/base.css", "/web/unknown",
    )
    for scheme in ("http", "https")
]  # fmt: skip


@pytest.mark.parametrize("host", ["evil.example", "testserver.evil.example", "a b", "", "[::1"])
def test_bad_host_is_400_on_every_page(db, host):
    responses = {
        (url, scheme): ApiClient().get(url, HTTP_HOST=host, HTTP_X_FORWARDED_PROTO=scheme)
        for url, scheme in EVERYWHERE
    }

    found = {
        where: (response.status_code, {name: response.headers.get(name) for name in HEADERS})
        for where, response in responses.items()
    }
    assert found == dict.fromkeys(EVERYWHERE, (400, HEADERS))
    policies = {response.headers["Content-Security-Policy"] for response in responses.values()}
    assert [policy for policy in policies if "frame-ancestors 'none'" not in policy] == []


@pytest.mark.urls(__name__)
@pytest.mark.parametrize(("url", "status"), [("/unknown", 404), ("/crash", 500)])
def test_error_page_is_not_a_debug_page(staff, settings, url, status):
    response = staff.get(url)

    assert settings.DEBUG is False
    assert response.status_code == status
    assert b"DEBUG" not in response.content
    assert b"urlpatterns" not in response.content
    assert b"RuntimeError" not in response.content
    assert len(response.content) < 300
