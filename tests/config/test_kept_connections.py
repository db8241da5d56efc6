"""The connection to the database outlives a request, for the next one on whichever thread."""

from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from wsgiref.util import setup_testing_defaults

import pytest
from django.db import OperationalError, connections, transaction
from django.db import connection as database
from django.http import StreamingHttpResponse

from config import kept_connections
from config.web_chain.wsgi import WebHandler
from config.wsgi import application

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.only_on("postgresql", reason="the test database of SQLite lives in one thread"),
]


@pytest.fixture
def on_thread():
    """Run on a thread of its own, whose connection is closed afterwards."""

    def run(work):
        def do():
            try:
                return work()
            finally:
                connections.close_all()

        with ThreadPoolExecutor(1) as pool:
            return pool.submit(do).result()

    yield run
    kept_connections.discard()


def serve(meanwhile=lambda: None):
    """As a request that uses the database; the process of PostgreSQL that did the work."""
    kept_connections.take()
    with connections["default"].cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        (pid,) = cursor.fetchone()
    meanwhile()
    kept_connections.keep()
    return pid


def serve_two(on_thread):
    """As two requests at a time."""
    pids = []
    pids.append(serve(lambda: pids.append(on_thread(serve))))
    return pids


def break_off():
    """As a request whose connection is broken by the server."""
    kept_connections.take()
    with pytest.raises(OperationalError), connections["default"].cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(pg_backend_pid())")
    kept_connections.keep()


def has_connection():
    """What the next request finds."""
    kept_connections.take()
    return connections["default"].connection is not None


def test_next_request_finds_it_on_another_thread(on_thread):
    first = on_thread(serve)

    assert on_thread(has_connection)
    assert first


def test_two_requests_at_a_time_have_two(on_thread):
    on_thread(serve)

    one, other = on_thread(lambda: serve_two(on_thread))

    assert one != other


def test_after_a_minute_it_goes_back_to_the_pool(on_thread, monkeypatch):
    on_thread(serve)
    now = kept_connections.monotonic()
    monkeypatch.setattr(kept_connections, "monotonic", lambda: now + kept_connections.KEEP_SECONDS)

    assert not on_thread(has_connection)


def test_broken_one_is_not_kept(on_thread):
    on_thread(break_off)

    assert not on_thread(has_connection)


def test_others_are_given_back_when_one_is_broken(on_thread):
    """After a restart of the database all of them are, whichever page notices it."""

    def fail():
        kept_connections.take()
        with pytest.raises(OperationalError), connections["default"].cursor() as cursor:
            cursor.execute("SELECT 1")
        kept_connections.keep()

    pids = on_thread(lambda: serve_two(on_thread))
    with database.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(pid, 5000) FROM unnest(%s) AS pid", [[*pids]])

    on_thread(fail)

    assert on_thread(serve) not in pids


def test_failure_ends_with_its_request(on_thread):
    """A later one on that thread gives nothing back that is sound."""

    def fail_and_go_on():
        break_off()
        kept_connections.take()
        pid = on_thread(serve)
        kept_connections.keep()
        return pid

    pid = on_thread(fail_and_go_on)

    assert on_thread(serve) == pid


def test_open_transaction_stays_with_its_thread(on_thread):
    def in_transaction():
        with transaction.atomic():
            return serve(), serve()

    first, second = on_thread(in_transaction)

    assert first == second


def test_stream_leaves_no_connection_behind(on_thread, monkeypatch):
    """Its pieces are made by any thread, perhaps one that never serves a request."""

    def pieces():
        with connections["default"].cursor() as cursor:
            cursor.execute("SELECT 'piece'")
            yield cursor.fetchone()[0]

    monkeypatch.setattr(WebHandler, "get_response", lambda *_: StreamingHttpResponse(pieces()))
    environ = {"wsgi.input": BytesIO()}
    setup_testing_defaults(environ)

    def read_to_the_end():
        response = application(environ, lambda *_: None)
        content = b"".join(response)
        response.close()
        return content, connections["default"].connection

    assert on_thread(read_to_the_end) == (b"piece", None)
