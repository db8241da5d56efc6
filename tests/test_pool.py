"""The pool of connections, when the database is away."""

from threading import Event

import pytest
from django.db import connection
from psycopg_pool import ConnectionPool


@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite has no pool")
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
