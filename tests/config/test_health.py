"""The liveness and readiness probes."""

import gc
import logging
import resource
from contextlib import contextmanager
from threading import Thread

import pytest
from cryptography.fernet import Fernet
from django.contrib.auth.models import User
from django.db import InterfaceError, OperationalError
from django.db import connection as database
from django.db.migrations.recorder import MigrationRecorder
from django.test import Client
from django.test.utils import CaptureQueriesContext

from config.observability import health
from tests.conftest import log_lines, written_log

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def readiness(monkeypatch):
    """A process without an earlier probe, and a stopped clock."""
    monkeypatch.setattr(health, "monotonic", lambda: 1_000.0)
    fresh = health.Readiness()
    monkeypatch.setattr(health, "readiness", fresh)
    return fresh


@pytest.fixture
def a_second_later(monkeypatch):
    """Return a function that advances the clock until a result expires."""

    def forward():
        now = health.monotonic()
        monkeypatch.setattr(health, "monotonic", lambda: now + health.RESULT_SECONDS + 0.1)

    return forward


@contextmanager
def unavailable_database(error=OperationalError):
    def refuse(*args):
        raise error("no such host: do not show")

    with database.execute_wrapper(refuse):
        yield


def probe(path, method="GET", **kwargs):
    return Client(raise_request_exception=False).generic(method, path, **kwargs)


def assert_failed(response, name):
    assert response.status_code == 503
    assert response.json() == {"status": "unavailable", "failed": [name]}


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_healthy_service_is_200(path, method, connection):
    response = probe(path, method)

    assert response.status_code == 200
    assert response["Cache-Control"] == "no-store"
    assert response["Content-Type"] == "application/json"
    assert response.content == (b"" if method == "HEAD" else b'{"status": "ok"}')


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics"])
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_other_method_is_405(path, method):
    response = probe(path, method)

    assert (response.status_code, response["Allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_probe_needs_no_allowed_host_https_or_portal_code(path, settings):
    settings.PORTAL_ACCESS_CODE = "code"
    settings.SECURE_SSL_REDIRECT = True

    assert probe(path, HTTP_HOST="10.0.0.7:8000").status_code == 200


def test_liveness_does_not_depend_on_the_database():
    with unavailable_database():
        assert probe("/healthz").status_code == 200


@pytest.mark.parametrize("error", [OperationalError, InterfaceError])
def test_service_is_not_ready_without_its_database(error):
    with unavailable_database(error):
        response = probe("/readyz")

    assert_failed(response, "database")
    assert b"host" not in response.content


@pytest.mark.only_on("postgresql", reason="SQLite has no sessions")
@pytest.mark.django_db(transaction=True)
def test_read_only_session_is_replaced(a_second_later):
    with database.cursor() as cursor:
        cursor.execute("SET default_transaction_read_only = on")

    assert_failed(probe("/readyz"), "database")
    a_second_later()
    assert probe("/readyz").status_code == 200


@pytest.mark.only_on("sqlite", reason="only SQLite has a database file")
def test_service_is_not_ready_with_a_read_only_file(a_second_later):
    with database.cursor() as cursor:
        cursor.execute("PRAGMA query_only = on")
        assert_failed(probe("/readyz"), "database")
        cursor.execute("PRAGMA query_only = off")
    a_second_later()

    assert probe("/readyz").status_code == 200


@pytest.fixture
def full_disk():
    """Forbid files to grow."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.only_on("sqlite", reason="only SQLite has a database file")
# Django drops a new connection if its first statement fails, and Python 3.13 warns that it is open.
@pytest.mark.filterwarnings(
    r"ignore:Exception ignored.*sqlite3:pytest.PytestUnraisableExceptionWarning"
)
def test_service_is_not_ready_with_a_full_disk(database_file, full_disk):
    assert_failed(probe("/readyz"), "database")
    gc.collect()


def test_service_is_not_ready_without_a_migration(a_second_later):
    recorder = MigrationRecorder(database)
    last = recorder.migration_qs.filter(app="workspaces").latest("name").name
    recorder.record_unapplied("workspaces", last)
    assert_failed(probe("/readyz"), "migrations")
    recorder.record_applied("workspaces", last)
    a_second_later()

    assert probe("/readyz").status_code == 200


def test_service_is_not_ready_with_the_keys_of_another_deployment(
    connection, settings, a_second_later
):
    settings.FERNET_KEYS = [Fernet.generate_key().decode()]
    assert_failed(probe("/readyz"), "keys")
    settings.FERNET_KEYS = [Fernet.generate_key().decode(), *settings.FERNET_KEYS]
    a_second_later()
    assert_failed(probe("/readyz"), "keys")


def test_service_is_ready_with_one_damaged_secret(workspace, connection, make_connection):
    make_connection(workspace)
    with database.cursor() as cursor:
        cursor.execute(
            "UPDATE stripe_connections_stripeconnection SET api_key = %s WHERE id = %s",
            [b"gAAAAdamaged", connection.pk],
        )

    assert probe("/readyz").status_code == 200


def test_service_is_ready_with_a_new_demo_user(settings):
    """At the start, check E014 would fail."""
    settings.DEMO_PEOPLE = False
    User.objects.create(username="demo-manager")

    assert probe("/readyz").status_code == 200


@pytest.fixture
def probed_meanwhile():
    """Return a function that sends probes during another one and returns all results."""

    def run():
        statuses, late = [], []

        def meanwhile(execute, *args):
            other = Thread(target=lambda: statuses.append(probe("/readyz").status_code))
            other.start()
            other.join(timeout=60)
            late.append(other.is_alive())
            return execute(*args)

        with database.execute_wrapper(meanwhile):
            status = probe("/readyz").status_code
        assert late
        return status, set(statuses), any(late)

    return run


def test_probe_does_not_wait_for_another_one(connection, a_second_later, probed_meanwhile):
    assert probe("/readyz").status_code == 200
    a_second_later()

    assert probed_meanwhile() == (200, {200}, False)


def test_concurrent_probe_is_503_before_the_first_result(connection, probed_meanwhile):
    assert probed_meanwhile() == (200, {503}, False)


def test_result_is_cached_for_a_second(connection, a_second_later):
    assert probe("/readyz").status_code == 200
    with CaptureQueriesContext(database) as captured:
        assert {probe("/readyz").status_code for _ in range(20)} == {200}
    assert len(captured) == 0
    with unavailable_database():
        a_second_later()
        assert_failed(probe("/readyz"), "database")
        assert_failed(probe("/readyz"), "database")
    a_second_later()

    assert probe("/readyz").status_code == 200


def test_migrations_are_not_checked_again_once_they_are_complete(connection, a_second_later):
    probe("/readyz")
    a_second_later()
    with CaptureQueriesContext(database) as captured:
        probe("/readyz")

    # The check of stored secrets reads one migration.
    assert [q for q in captured if '"django_migrations"."applied"' in q["sql"]] == []
    assert len(captured) <= 5


def test_successful_probe_is_logged_only_with_debug(connection):
    root = logging.getLogger()
    with written_log() as log:
        probe("/healthz")
        root.setLevel("DEBUG")
        try:
            probe("/healthz")
        finally:
            root.setLevel("INFO")

    [line] = [line for line in log_lines(log) if line["event"] == "request"]
    assert (line["level"], line["route"], line["status"]) == ("debug", "/healthz", 200)


def test_failing_probe_is_a_warning():
    with written_log() as log, unavailable_database():
        probe("/readyz")

    [line] = log_lines(log)
    assert (line["level"], line["route"], line["status"]) == ("warning", "/readyz", 503)
