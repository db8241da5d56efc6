"""Database sessions that end, become stale, or get no reply."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from socket import create_server
from wsgiref.util import setup_testing_defaults

import psycopg
import pytest
from django.db import NotSupportedError, OperationalError, connection, transaction

from config.wsgi import application
from tests.service import PATIENCE_SECONDS
from workspaces.models import CallCount

pytestmark = pytest.mark.only_on("postgresql", reason="SQLite has no server")
INSERT = "INSERT INTO workspaces_callcount (key, window_end, calls) VALUES ('key', 1, 1)"
END = "SELECT pg_terminate_backend(pg_backend_pid())"


def execute(sql):
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchone()


def session():
    return execute("SELECT pg_backend_pid()")[0]


@pytest.fixture
def attempts():
    """A list of the statements that are sent to the driver."""
    found = []

    def note(execute, sql, *rest):
        found.append(sql)
        return execute(sql, *rest)

    with connection.execute_wrapper(note):
        yield found


@pytest.fixture
def ended_session(transactional_db):
    """An idle session that another session terminated."""
    pid = session()
    url = connection.get_connection_params() | {"cursor_factory": None, "context": None}
    with psycopg.connect(**url, autocommit=True) as other:
        other.execute("SELECT pg_terminate_backend(%s, %s)", [pid, PATIENCE_SECONDS * 1000])


def test_read_is_repeated_in_a_new_session(ended_session, attempts):
    assert execute("SELECT 7") == (7,)
    assert attempts == ["SELECT 7"] * 2


def test_write_is_not_repeated_if_the_session_ended(ended_session, attempts):
    with pytest.raises(OperationalError):
        execute(INSERT)

    assert attempts == [INSERT]
    assert session()


def test_statement_is_repeated_only_once(transactional_db, attempts):
    with pytest.raises(OperationalError):
        execute(END)

    assert attempts == [END] * 2


@transaction.atomic
def write_and_end():
    CallCount.objects.create(key="key", window_end=1, calls=1)
    execute(END)


def test_transaction_is_not_continued_in_a_new_session(transactional_db, attempts):
    with pytest.raises(OperationalError):
        write_and_end()

    assert attempts.count(END) == 1
    assert not CallCount.objects.exists()


def test_statement_with_an_unsupported_feature_is_not_repeated(transactional_db, attempts):
    before, sql = session(), "SELECT count(*) FROM workspaces_callcount FOR UPDATE"
    with pytest.raises(NotSupportedError):
        execute(sql)

    assert attempts.count(sql) == 1
    assert session() == before


def test_column_with_a_changed_type_can_be_read(transactional_db):
    sql = "SELECT name FROM workspaces_workspace"
    before = [execute(sql) for _ in range(5)]
    execute_only("ALTER TABLE workspaces_workspace ALTER COLUMN name TYPE varchar(300)")
    after = execute(sql)
    execute_only("ALTER TABLE workspaces_workspace ALTER COLUMN name TYPE varchar(128)")

    assert {*before, after} == {None}


def execute_only(sql):
    with connection.cursor() as cursor:
        cursor.execute(sql)


def test_connection_to_a_silent_server_times_out():
    parameters = connection.get_connection_params() | {"host": "127.0.0.1", "password": "x"}
    with closing(create_server(("127.0.0.1", 0))) as silent, ThreadPoolExecutor(1) as pool:
        parameters["port"] = silent.getsockname()[1]
        attempt = pool.submit(psycopg.connect, **parameters)
        try:
            error = attempt.exception(PATIENCE_SECONDS)
        finally:
            silent.close()

    assert isinstance(error, psycopg.errors.ConnectionTimeout)


def test_connection_detects_a_lost_server(db):
    """By default, Linux would wait for a quarter of an hour."""
    connection.ensure_connection()

    used = connection.connection.info.get_parameters()

    assert (used["tcp_user_timeout"], used["keepalives_idle"]) == ("5000", "5")


@pytest.mark.parametrize(("max_age", "is_kept"), [(60, True), (0, False)])
def test_request_replaces_a_session_older_than_conn_max_age(
    transactional_db, monkeypatch, max_age, is_kept
):
    monkeypatch.setitem(connection.settings_dict, "CONN_MAX_AGE", max_age)
    connection.close()
    old = session()

    # This page reads nothing from the database.
    environ = {"PATH_INFO": "/healthz"}
    setup_testing_defaults(environ)
    application(environ, lambda *_: None)

    assert (session() == old) is is_kept
    connection.close()
