"""A request's connection to the database is kept for the next one, on whichever thread that runs.

Django gives it back to the pool after every request and makes its own state of it anew, which takes
a twentieth of an update's time. A connection for each thread would be as fast, and lost with the
thread: the server ends idle ones without telling Python.
"""

from collections import deque
from time import monotonic
from typing import Any

from django.db import DEFAULT_DB_ALIAS, connections
from django.db.backends.signals import connection_created

# After that it goes back to the pool, which knows how old a connection may become.
KEEP_SECONDS = 60

_kept: deque[Any] = deque()


def start() -> None:
    """Let connections of this process, a server's, outlive a request."""
    connection_created.connect(_prolong)


def take() -> None:
    """At the beginning of a request: use a connection that is kept, if there is one."""
    # That of a stream which nobody read to the end may still be open here.
    has_one = any(database.connection for database in connections.all(initialized_only=True))
    database = None if has_one else _last()
    if database:
        if monotonic() >= database.close_at:
            database.close()
        connections[DEFAULT_DB_ALIAS] = database


def keep() -> None:
    """At the end of a request: what has not failed and is not too old is for the next one.

    Where it was broken, the idle ones are looked at, too: after a restart of the database all of
    them are, and each would cost a request, or a probe.
    """
    database = connections[DEFAULT_DB_ALIAS]
    if database.in_atomic_block:  # a test's
        return
    database.close_if_unusable_or_obsolete()
    if database.errors_occurred and not database.connection:
        # A thread's next request must not take it for broken again.
        del connections[DEFAULT_DB_ALIAS]
        discard()
        if pool := getattr(database, "pool", None):
            pool.check()
    elif database.connection:
        if not database.allow_thread_sharing:
            database.inc_thread_sharing()
        del connections[DEFAULT_DB_ALIAS]
        _kept.append(database)


def discard() -> None:
    """Give all that are kept back to the pool."""
    while database := _last():
        database.close()


def _prolong(connection: Any, **_: Any) -> None:
    # As CONN_MAX_AGE, which Django refuses beside a pool.
    connection.close_at = monotonic() + KEEP_SECONDS


def _last() -> Any:
    try:
        return _kept.pop()
    except IndexError:
        return None
