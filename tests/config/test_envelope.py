"""Every response under /web/ has the envelope."""

import re
import time
import uuid

import pytest
from auditlog.models import LogEntry
from django.core.exceptions import SuspiciousOperation
from django.db import InterfaceError, OperationalError
from django.db import connection as database
from django.http import Http404
from django.urls import include, path
from rest_framework.settings import api_settings
from rest_framework.views import APIView

from tests.conftest import ApiClient, log_lines, read_only, update_path, written_log
from tests.wsgi import call
from workspaces import throttles
from workspaces.tokens import RefreshToken

ERROR_KEYS = ["version", "timestamp", "success", "code", "message"]
NAMED = {"connectionBizId": "sc_abc123", "connectionName": "New"}
ONE_DATABASE = pytest.mark.only_on("sqlite", reason="no query is made")
UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class PlannedError(Exception):
    """Raised by the views below; its text must not be shown."""


def crash(request):
    raise PlannedError("do not show")


def missing(request):
    raise Http404("do not show")


def suspicious(request):
    raise SuspiciousOperation("do not show")


class CrashView(APIView):
    """A view that crashes inside Django REST Framework."""

    authentication_classes = ()
    permission_classes = ()

    def post(self, request):
        raise PlannedError("do not show")


urlpatterns = [
    path("", include("config.urls")),
    path("web/crash", crash),
    path("web/crash/view", CrashView.as_view()),
    path("web/missing", missing),
    path("web/suspicious", suspicious),
]


def refuse_query(error):
    def wrapper(execute, sql, params, many, context):
        raise error("connection to server failed: do not show")

    return wrapper


def assert_envelope(response, status, code, message):
    body = response.json()
    assert response.status_code == status
    assert [body["version"], body["success"], body["code"], body["message"]] == [
        "1.3.0",
        False,
        code,
        message,
    ]
    assert list(body)[:5] == ERROR_KEYS
    assert isinstance(body["timestamp"], int)
    assert "data" not in body
    assert response.headers["Content-Type"] == "application/json"
    assert response.headers["Cache-Control"] == "no-store"
    assert UUID.fullmatch(response.headers["X-Request-Id"])
    return body


def test_keys_of_a_success_are_in_order(manager, connection):
    body = manager.update(NAMED).json()

    assert list(body) == [*ERROR_KEYS, "data"]
    assert list(body["data"]) == [
        "bizId",
        "tenantBizId",
        "connectionName",
        "connectionDescription",
        "stripeAccountId",
        "partnerEndpoint",
        "configJson",
        "status",
        "statusName",
        "createdAt",
        "updatedAt",
    ]


def test_headers_of_a_success(manager, connection):
    response = manager.update(NAMED, headers={"X-Request-Id": "abc"})

    assert response["Content-Type"] == "application/json"
    assert response["Cache-Control"] == "no-store"
    assert response["X-Request-Id"] == "abc"
    assert response["X-Content-Type-Options"] == "nosniff"
    assert "Set-Cookie" not in response


def test_timestamp_is_the_current_time_in_milliseconds(manager, connection):
    before = time.time_ns() // 1_000_000
    timestamp = manager.update(NAMED).json()["timestamp"]

    assert before <= timestamp <= time.time_ns() // 1_000_000


def test_times_are_whole_seconds_in_utc(manager, connection):
    data = manager.update(NAMED).json()["data"]

    whole = re.compile(r"20[0-9]{2}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-5][0-9]:[0-5][0-9]Z")
    assert whole.fullmatch(data["createdAt"])
    assert whole.fullmatch(data["updatedAt"])


@ONE_DATABASE
def test_400_lists_the_fields(manager, connection):
    response = manager.update({"connectionBizId": "sc_abc123", "connectionName": ""})

    body = assert_envelope(response, 400, "4000", "Invalid request")
    assert list(body) == [*ERROR_KEYS, "errors"]
    assert [list(error) for error in body["errors"]] == [["field", "code", "message"]]


@ONE_DATABASE
def test_400_of_the_whole_body_has_a_null_field(manager, connection):
    body = assert_envelope(manager.update(b"{"), 400, "4000", "Invalid request")

    assert body["errors"] == [
        {"field": None, "code": "not_json", "message": "The body is not valid JSON."}
    ]


@ONE_DATABASE
def test_401_without_a_token(db):
    response = ApiClient().update(NAMED)

    body = assert_envelope(response, 401, "4010", "Invalid or expired token")
    assert list(body) == ERROR_KEYS
    assert response["WWW-Authenticate"] == "Bearer"


@ONE_DATABASE
@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/web/v1/auth/token", {"username": "nobody", "password": "x"}),
        ("/web/v1/auth/token/refresh", {"refreshToken": "x"}),
    ],
)
def test_401_of_a_login_has_the_scheme(db, path, body):
    response = ApiClient().post(path, body, content_type="application/json")

    assert (response.status_code, response.json()["code"]) == (401, "4010")
    assert response["WWW-Authenticate"] == "Bearer"


def test_403_of_a_viewer(viewer, connection):
    response = viewer.update(NAMED)

    body = assert_envelope(response, 403, "4030", "Forbidden")
    assert list(body) == ERROR_KEYS
    assert "WWW-Authenticate" not in response


def test_404_of_a_missing_connection(manager, workspace):
    response = manager.update(NAMED)

    body = assert_envelope(response, 404, "4040", "Stripe tenant connection not found")
    assert list(body) == ERROR_KEYS


UNKNOWN = (
    "/web/",
    "/web/v1",
    "/web/v2/auth/token",
    "/web/v1/unknown?x=1",
    "/web/v1/auth/token/",
    "/web/v1/workspaces//stripe/connections/update",
    "/web/v1/workspaces/ws_demo/stripe/connection",
    "/web/v1/workspaces/ws_demo/stripe/connections/update/",
    "/web/v1/workspaces/ws%2Fdemo/stripe/connections/update",
    "/web/%00",
    "/web/%ff%fe",
    "/web/../admin/",
    "/web//v1/auth/token",
    "/web/" + "a" * 5_000,
)


@ONE_DATABASE
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
def test_unknown_path_is_404(db, method):
    responses = [ApiClient().generic(method, path) for path in UNKNOWN]

    bodies = [assert_envelope(response, 404, "4040", "Not found") for response in responses]
    assert [list(body) for body in bodies] == [ERROR_KEYS] * len(UNKNOWN)


@ONE_DATABASE
@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW"])
def test_other_method_is_405(manager, connection, method):
    response = manager.generic(method, update_path())

    body = assert_envelope(response, 405, "4050", "Method not allowed")
    assert list(body) == ERROR_KEYS
    assert response["Allow"] == "POST"


@ONE_DATABASE
@pytest.mark.parametrize("query", ["format=xml", "format=json", "format="])
def test_405_does_not_depend_on_the_query_string(manager, connection, query):
    response = manager.get(f"{update_path()}?{query}")

    assert_envelope(response, 405, "4050", "Method not allowed")


@ONE_DATABASE
@pytest.mark.parametrize("method", ["GET", "PUT", "OPTIONS"])
@pytest.mark.parametrize("path", ["/web/v1/auth/token", "/web/v1/auth/token/refresh"])
def test_other_method_is_405_for_tokens(db, path, method):
    response = ApiClient().generic(method, path)

    assert_envelope(response, 405, "4050", "Method not allowed")
    assert response["Allow"] == "POST"


@ONE_DATABASE
def test_head_is_405_without_a_body(manager, connection):
    response = manager.head(update_path())

    assert (response.status_code, response["Allow"], response.content) == (405, "POST", b"")


@ONE_DATABASE
@pytest.mark.parametrize(
    "accept",
    [
        "text/html",
        "application/xml",
        "application/json5",
        "text/*;q=1",
        "nonsense",
        "text/html; q*=no-such''1",
        "text/" + "x" * 20_000,
    ],
    ids=range(7),
)
def test_other_accept_is_406(manager, assert_refused, accept):
    response = manager.update(NAMED, headers={"Accept": accept})

    message = "Not acceptable: this call answers application/json"
    assert list(assert_envelope(response, 406, "4060", message)) == ERROR_KEYS
    assert_refused(response, 406, "4060")


@ONE_DATABASE
@pytest.mark.parametrize(
    "accept",
    [
        "*/*",
        "application/*",
        "application/json",
        "application/json;q=0.5",
        "application/json; indent=4",
        "application/json; x*=1; x*0*=2; x*1*=3",
        "text/html, application/json",
        "text/html,application/xhtml+xml,*/*;q=0.8",
    ],
)
def test_accept_header_that_allows_json_succeeds(manager, connection, accept):
    response = manager.update(NAMED, headers={"Accept": accept})

    assert response.status_code == 200
    assert response["Content-Type"] == "application/json"


def test_412_of_a_stale_version(manager, connection):
    response = manager.update(NAMED, headers={"If-Match": '"9"'})

    message = "The resource has changed since it was read"
    assert list(assert_envelope(response, 412, "4120", message)) == ERROR_KEYS


@ONE_DATABASE
def test_413_of_a_long_body(manager, connection):
    response = manager.update("x" * 70_000)

    body = assert_envelope(response, 413, "4130", "Request body too large")
    assert list(body) == ERROR_KEYS


@ONE_DATABASE
def test_415_of_another_media_type(manager, connection):
    response = manager.update("{}", content_type="text/plain")

    message = "Unsupported media type: send application/json in UTF-8"
    assert list(assert_envelope(response, 415, "4150", message)) == ERROR_KEYS


def test_429_has_retry_after(db, monkeypatch):
    monkeypatch.setattr(throttles, "counter", throttles.Counter())
    monkeypatch.setitem(api_settings.DEFAULT_THROTTLE_RATES, "token", "1/min")
    responses = [
        ApiClient().post(
            "/web/v1/auth/token",
            {"username": "nobody", "password": "x"},
            content_type="application/json",
        )
        for _ in range(2)
    ]

    body = assert_envelope(responses[1], 429, "4290", "Too many requests")
    assert list(body) == ERROR_KEYS
    assert 1 <= int(responses[1]["Retry-After"]) <= 60


def test_username_with_a_surrogate_can_be_counted(db, monkeypatch):
    monkeypatch.setattr(throttles, "counter", throttles.Counter())
    monkeypatch.setitem(api_settings.DEFAULT_THROTTLE_RATES, "token", "9/min")

    response = ApiClient().post(
        "/web/v1/auth/token",
        {"username": "\ud800", "password": "\0"},
        content_type="application/json",
    )

    body = assert_envelope(response, 400, "4000", "Invalid request")
    assert [error["field"] for error in body["errors"]] == ["username", "password"]


@ONE_DATABASE
@pytest.mark.urls(__name__)
@pytest.mark.parametrize("path", ["/web/crash", "/web/crash/view"])
@pytest.mark.parametrize("debug", [False, True])
def test_crash_is_500_without_details(db, settings, path, debug):
    settings.DEBUG = debug

    with written_log() as log:
        response = ApiClient().post(path, headers={"X-Request-Id": str(uuid.UUID(int=7))})

    body = assert_envelope(response, 500, "5000", "Internal server error")
    assert list(body) == ERROR_KEYS
    assert b"do not show" not in response.content
    crash, line = log_lines(log)
    assert [crash["level"], crash["event"]] == ["error", "Unexpected error"]
    assert crash["request_id"] == line["request_id"] == str(uuid.UUID(int=7))
    assert "PlannedError" in crash["exception"]


@ONE_DATABASE
@pytest.mark.urls(__name__)
@pytest.mark.parametrize(
    ("path", "status", "code", "message"),
    [
        ("/web/missing", 404, "4040", "Not found"),
        ("/web/suspicious", 400, "4000", "Invalid request"),
    ],
)
def test_exception_of_a_plain_view_gets_the_envelope(db, path, status, code, message):
    response = ApiClient().post(path)

    assert_envelope(response, status, code, message)


@pytest.mark.parametrize("error", [OperationalError, InterfaceError, read_only])
def test_unavailable_database_is_503_and_logged(manager, connection, error):
    with written_log() as log, database.execute_wrapper(refuse_query(error)):
        response = manager.update(NAMED)

    body = assert_envelope(response, 503, "5030", "Service unavailable, try again")
    assert list(body) == ERROR_KEYS
    assert response["Retry-After"] == "1"
    assert "The database is unavailable or busy" in log.getvalue()


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("token", lambda _: {"username": "somebody", "password": "password of somebody"}),
        ("token/refresh", lambda user: {"refreshToken": str(RefreshToken.for_user(user))}),
    ],
)
def test_unavailable_database_is_503_for_tokens(make_user, path, body):
    sent = body(make_user("somebody"))

    with database.execute_wrapper(refuse_query(OperationalError)):
        response = ApiClient().post(f"/web/v1/auth/{path}", sent, content_type="application/json")

    assert_envelope(response, 503, "5030", "Service unavailable, try again")


def test_call_succeeds_when_the_database_is_available_again(manager, connection):
    with database.execute_wrapper(refuse_query(OperationalError)):
        manager.update(NAMED)

    assert manager.update(NAMED).status_code == 200


BAD_HOSTS = ("evil.example", "testserver.evil.example", "a b", "", "[::1", "testserver:x", "é")


@ONE_DATABASE
@pytest.mark.parametrize("unknown", [update_path(), "/web/unknown"])
def test_bad_host_is_400(manager, connection, unknown):
    responses = [
        manager.post(unknown, NAMED, content_type="application/json", HTTP_HOST=host)
        for host in BAD_HOSTS
    ]

    bodies = [assert_envelope(response, 400, "4000", "Invalid request") for response in responses]
    assert [list(body) for body in bodies] == [ERROR_KEYS] * len(BAD_HOSTS)


@pytest.mark.parametrize(
    "sent", ["a", "A.b_c:d-9", "0" * 128, str(uuid.UUID(int=1)), ":", "-", "..", "Root=1-67"[5:]]
)
def test_well_formed_request_id_is_returned_and_recorded(manager, connection, sent):
    response = manager.update(NAMED, headers={"X-Request-Id": sent})

    assert response["X-Request-Id"] == sent
    assert LogEntry.objects.get().cid == sent


@pytest.mark.parametrize(
    "sent",
    ["", "0" * 129, "a b", "a,b", "a/b", "é", "a\n", "{}", "${jndi:ldap://x}", "<b>", "a\x1b"],
)
def test_other_request_id_is_replaced(manager, connection, sent):
    response = manager.update(NAMED, HTTP_X_REQUEST_ID=sent)

    assert UUID.fullmatch(response["X-Request-Id"])
    assert LogEntry.objects.get().cid == response["X-Request-Id"]


def test_request_without_an_id_gets_a_new_one(manager, connection):
    first, second = manager.update(NAMED), manager.update(NAMED)

    assert UUID.fullmatch(first["X-Request-Id"])
    assert first["X-Request-Id"] != second["X-Request-Id"]


@ONE_DATABASE
def test_response_of_the_wsgi_application_has_the_envelope(manager, connection):
    answer = call(manager, b"", PATH_INFO="/web/unknown")

    assert_envelope(answer, 404, "4040", "Not found")
