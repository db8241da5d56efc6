"""Each request has one line in the log, without values that a client could use to hide a secret."""

import logging
import os
import pty
import re
import secrets
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.db import IntegrityError, OperationalError, transaction
from django.db import connection as database
from django.db.backends.signals import connection_created

from config.observability.requests import JSONFormatter
from stripe_connections.models import StripeConnection
from tests.conftest import ApiClient, log_lines, update_path, written_log
from tests.production import PRODUCTION
from tests.stripe_connections.admin.conftest import LIST, StaffClient, change_url

ROOT = Path(__file__).resolve().parents[2]
ROUTE = "web/v1/workspaces/<str:workspace_id>/stripe/connections/update"
NAMED = {"connectionBizId": "sc_abc123", "connectionName": "New"}


@pytest.fixture(autouse=True)
def statements_counted(db):
    """Count statements like for a database connection that was opened after the start."""
    connection_created.send(type(database), connection=database)


@pytest.fixture
def line_of():
    """Return a function that makes a request and returns its log line."""

    def run(call):
        with written_log() as log:
            call().getvalue()
        lines = log_lines(log)
        assert [line["event"] for line in lines] == ["request"]
        return lines[0]

    return run


def test_line_of_an_update(manager, connection, line_of):
    line = line_of(lambda: manager.update(NAMED, headers={"X-Request-Id": "the-id"}))

    written_at = datetime.fromisoformat(line.pop("time"))
    assert abs(datetime.now(UTC) - written_at) < timedelta(minutes=1)
    assert line.pop("duration_ms") > 0
    assert line.pop("queries") >= 1
    assert line == {
        "level": "info",
        "event": "request",
        "logger": "config.request",
        "request_id": "the-id",
        "method": "POST",
        "route": ROUTE,
        "path": update_path(),
        "user": connection.workspace.memberships.get().user_id,
        "workspace": "ws_demo",
        "connection": "sc_abc123",
        "status": 200,
        "code": "2000",
        "address": "127.0.0.1",
    }


def test_statements_are_counted(manager, connection, line_of):
    before = line_of(lambda: manager.update({"connectionBizId": "sc_abc123"}))["queries"]
    changed = line_of(lambda: manager.update(NAMED))["queries"]
    none = line_of(lambda: ApiClient().get("/web/unknown"))["queries"]

    assert none == 0
    assert 0 < before < changed <= 6


def test_statements_are_counted_once_each(manager, connection, line_of):
    first = line_of(lambda: manager.update(NAMED))["queries"]
    connection_created.send(type(database), connection=database)

    assert line_of(lambda: manager.update(NAMED))["queries"] == first


@pytest.mark.parametrize(
    ("body", "headers", "status", "code", "named"),
    [
        ({"connectionBizId": "sc_unknown"}, {}, 404, "4040", "sc_unknown"),
        ({"connectionBizId": "sk_" + "x" * 20}, {}, 404, "4040", None),
        ({"connectionBizId": "sc_abc123"}, {"If-Match": '"7"'}, 412, "4120", "sc_abc123"),
        ({"connectionBizId": "sc_abc123", "connectionName": ""}, {}, 400, "4000", None),
    ],
)
def test_line_of_a_refused_update_has_a_well_formed_connection(
    manager, connection, line_of, body, headers, status, code, named
):
    line = line_of(lambda: manager.update(body, headers=headers))

    assert (line["status"], line["code"], line.get("connection")) == (status, code, named)
    assert line["workspace"] == "ws_demo"
    assert (line["level"], "path" in line) == ("info", False)


@pytest.mark.parametrize("sent", ["sk_" + "live_x", "ws demo", "ws_demo_x", "ws_" + "x" * 62, "x"])
def test_malformed_workspace_is_not_logged(manager, workspace, line_of, sent):
    line = line_of(lambda: manager.update(NAMED, workspace_id=sent))

    assert (line["status"], line["route"]) == (403, ROUTE)
    assert "workspace" not in line
    assert "path" not in line


def test_line_without_a_token_has_no_user(db, line_of):
    line = line_of(lambda: ApiClient().update(NAMED))

    assert (line["status"], line["code"]) == (401, "4010")
    assert "user" not in line


@pytest.mark.parametrize(
    ("path", "status", "route"),
    [
        ("/web/unknown", 404, "unmatched"),
        ("/unknown", 404, "unmatched"),
        ("/static/unknown.css", 404, "unmatched"),
        ("/static/admin/css/base.css", 200, "static"),
        ("/admin/login/", 200, "admin/login/"),
    ],
)
def test_every_request_has_a_line(db, line_of, path, status, route):
    line = line_of(lambda: StaffClient().get(path))

    assert (line["method"], line["status"], line["route"]) == ("GET", status, route)


def test_line_of_an_admin_page(admin_user, connection, line_of):
    client = StaffClient(admin_user)
    line = line_of(lambda: client.get(change_url(connection)))

    assert line["route"] == "admin/stripe_connections/stripeconnection/<path:object_id>/change/"
    assert line["path"] == change_url(connection)
    assert line["user"] == admin_user.pk
    assert line["queries"] > 1
    assert "code" not in line


def test_refused_page_has_one_line(make_user, connection, line_of):
    user = make_user("clerk")
    User.objects.update(is_staff=True)
    client = StaffClient(user)
    line = line_of(lambda: client.get(change_url(connection)))

    assert (line["status"], line["user"], line["level"]) == (403, user.pk, "info")
    assert "path" not in line


def test_session_is_not_read_for_the_line(db, line_of):
    line = line_of(lambda: StaffClient().get("/static/admin/css/base.css"))

    assert line["queries"] == 0


def test_unknown_method_is_not_logged(db, line_of):
    line = line_of(lambda: ApiClient().generic("SECRET", update_path()))

    assert line["method"] == "other"


@pytest.mark.parametrize(
    ("refused", "path", "lines"),
    [
        ("auditlog_logentry", update_path(), ["The database is unavailable or busy", "request"]),
        (
            "stripe_connections_stripeconnection",
            LIST,
            ["The database is unavailable or busy", "request"],
        ),
    ],
)
def test_failure_is_logged_with_its_traceback_and_one_line(
    manager, admin_user, connection, refused, path, lines
):
    staff = StaffClient(admin_user)
    call = {update_path(): lambda: manager.update(NAMED), LIST: lambda: staff.get(LIST)}[path]

    def refuse(execute, sql, *args):
        if refused in sql:
            raise OperationalError("gone")
        return execute(sql, *args)

    with written_log() as log, database.execute_wrapper(refuse):
        response = call()
    error, line = log_lines(log)

    assert response.status_code == line["status"] == 503
    assert [error["event"], line["event"]] == lines
    assert [error["level"], line["level"]] == ["error", "warning"]
    assert error["request_id"] == line["request_id"]
    assert "OperationalError: gone" in error["exception"]
    assert "exception" not in line


@pytest.mark.only_on("postgresql")
def test_exception_does_not_contain_the_row(connection):
    StripeConnection.objects.update(connection_name="A name", connection_description="a\n\nb")

    with written_log() as log:
        try:
            with transaction.atomic():
                StripeConnection.objects.update(status=9)
        except IntegrityError:
            logging.getLogger("config").exception("Refused")
    (line,) = log_lines(log)

    assert line["exception"].count("connection_status") == 2
    assert "django.db.utils.IntegrityError" in line["exception"]
    shown = ("DETAIL", "A name", connection.api_key_hint, connection.api_key_fingerprint)
    assert [text for text in shown if text in line["exception"]] == []


def test_line_has_no_values_of_the_previous_request(manager, viewer, connection, line_of):
    line_of(lambda: manager.update(NAMED))
    line = line_of(lambda: viewer.update(NAMED))

    assert line["status"] == 403
    assert "connection" not in line


def test_no_line_is_written_if_the_level_is_higher(manager, connection):
    logger = logging.getLogger("config.request")
    logger.setLevel("WARNING")
    try:
        with written_log() as log:
            manager.update(NAMED)
    finally:
        logger.setLevel("NOTSET")

    assert log.getvalue() == ""


def test_traceback_does_not_contain_local_variables():
    shown = []

    def crash():
        local = secrets.token_hex(13)
        shown.append(local)
        raise RuntimeError(len(local))

    try:
        crash()
    except RuntimeError:
        record = logging.LogRecord("x", 40, "", 0, "Failed: %s", ("it",), sys.exc_info())
    text = JSONFormatter().format(record)

    assert shown[0] not in text
    assert "RuntimeError: 26" in text
    assert '"event":"Failed: it"' in text
    assert "\n" not in text


def written_to_a_terminal(script):
    """Run a script with a terminal as standard error, and return what it writes."""
    mine, its = pty.openpty()
    environment = {"PATH": os.environ["PATH"]} | PRODUCTION | {"DATABASE_URL": "sqlite://:memory:"}
    subprocess.run(
        [sys.executable, "-c", script], check=True, env=environment, cwd=ROOT, stderr=its
    )
    os.close(its)
    with os.fdopen(mine, "rb") as terminal:
        return terminal.read1().decode()


@pytest.mark.only_on("sqlite", reason="no query is made")
def test_log_on_a_terminal_is_coloured():
    text = written_to_a_terminal(
        "import django, logging, config.settings as s, os\n"
        "os.environ['DJANGO_SETTINGS_MODULE'] = 'config.settings'\n"
        "django.setup()\n"
        "logging.getLogger('x').warning('Hello', extra={'fields': {'status': 200}})\n"
    )

    assert re.match(r"\d\d:\d\d:\d\d \x1b\[33mwarning +\x1b\[0mHello ", text)
    assert "status=\x1b[0m200" in text


@pytest.mark.parametrize("path", [update_path(), LIST])
def test_line_has_the_reason_if_a_host_is_not_allowed(manager, line_of, path):
    line = line_of(lambda: manager.get(path, headers={"Host": "unknown.example"}))

    assert (line["status"], line["reason"]) == (400, "The Host header is not in ALLOWED_HOSTS.")
    assert "unknown.example" not in str(line)


def test_line_of_another_400_has_no_reason(manager, line_of):
    line = line_of(lambda: manager.update({}))

    assert line["status"] == 400
    assert "reason" not in line
