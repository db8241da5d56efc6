"""Connections to PostgreSQL, when it is away or says nothing."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from socket import create_server
from threading import Event

import psycopg
import pytest
from django.db import connection
from psycopg_pool import ConnectionPool

pytestmark = pytest.mark.only_on("postgresql", reason="SQLite has no server")


def test_pool_gives_up_while_its_callers_wait():
    """After that the next request has it try again; until then it tries ever more seldom."""
    options = connection.settings_dict["OPTIONS"]["pool"]
    gave_up = Event()
    pool = ConnectionPool(
        "host=127.0.0.1 port=9", reconnect_failed=lambda _: gave_up.set(), open=True, **options
    )

    is_in_time = gave_up.wait(options["timeout"])

    pool.close()
    assert is_in_time


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
