"""Sessions with PostgreSQL that end, go stale, or say nothing."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from socket import create_server

import psycopg
import pytest
from django.db import NotSupportedError, OperationalError, connection, transaction

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
    """The statements that reach the driver."""
    found = []

    def note(execute, sql, *rest):
        found.append(sql)
        return execute(sql, *rest)

    with connection.execute_wrapper(note):
        yield found


@pytest.fixture
def ended_session(transactional_db):
    """A session that was ended from outside while it was idle."""
    pid = session()
    url = connection.get_connection_params() | {"cursor_factory": None, "context": None}
    with psycopg.connect(**url, autocommit=True) as other:
        other.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])


def test_reading_goes_on_in_a_new_session(ended_session, attempts):
    assert execute("SELECT 7") == (7,)
    assert attempts == ["SELECT 7"] * 2


def test_writing_is_not_repeated_if_the_session_ended(ended_session, attempts):
    with pytest.raises(OperationalError):
        execute(INSERT)

    assert attempts == [INSERT]
    assert session()


def test_statement_that_fails_again_is_given_up(transactional_db, attempts):
    with pytest.raises(OperationalError):
        execute(END)

    assert attempts == [END] * 2


@transaction.atomic
def write_and_end():
    CallCount.objects.create(key="key", window_end=1, calls=1)
    execute(END)


def test_transaction_ends_with_its_session(transactional_db, attempts):
    with pytest.raises(OperationalError):
        write_and_end()

    assert attempts.count(END) == 1
    assert not CallCount.objects.exists()


def test_unsupported_feature_is_not_tried_again(transactional_db, attempts):
    before, sql = session(), "SELECT count(*) FROM workspaces_callcount FOR UPDATE"
    with pytest.raises(NotSupportedError):
        execute(sql)

    assert attempts.count(sql) == 1
    assert session() == before


def test_changed_type_is_read_in_a_new_session(transactional_db):
    sql = "SELECT name FROM workspaces_workspace"
    before = [execute(sql) for _ in range(5)]
    execute_only("ALTER TABLE workspaces_workspace ALTER COLUMN name TYPE varchar(300)")
    after = execute(sql)
    execute_only("ALTER TABLE workspaces_workspace ALTER COLUMN name TYPE varchar(128)")

    assert {*before, after} == {None}


def execute_only(sql):
    with connection.cursor() as cursor:
        cursor.execute(sql)


def test_server_that_says_nothing_is_given_up():
    parameters = connection.get_connection_params() | {"host": "127.0.0.1", "password": "x"}
    with closing(create_server(("127.0.0.1", 0))) as silent, ThreadPoolExecutor(1) as pool:
        parameters["port"] = silent.getsockname()[1]
        attempt = pool.submit(psycopg.connect, **parameters)
        try:
            error = attempt.exception(timeout=60)
        finally:
            silent.close()

    assert isinstance(error, psycopg.errors.ConnectionTimeout)


def test_connection_notices_a_machine_that_is_gone(db):
    """Linux alone would go on for a quarter of an hour."""
    connection.ensure_connection()

    used = connection.connection.info.get_parameters()

    assert (used["tcp_user_timeout"], used["keepalives_idle"]) == ("5000", "5")
