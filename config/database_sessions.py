"""Replaces stale database sessions, closes those of threads that end, and sends arrays as bytes.

A session is stale if the server ended it, if a statement that it prepared no longer fits the table
(after ALTER COLUMN TYPE), or if it is read-only (after a fail-over). A ping would succeed in the
last two cases, so stale sessions are detected by their errors.
"""

import re
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import psycopg
from django.db import Error, InterfaceError, OperationalError
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created
from psycopg.types.array import ListBinaryDumper

# `bulk_create` sends an array for each column. As text, a new connection with two secrets and its
# audit record would take 70 µs more.
psycopg.adapters.register_dumper(list, ListBinaryDumper)

# https://www.postgresql.org/docs/current/errcodes-appendix.html
READ_ONLY = "25006"
_is_end = re.compile("57P0[123]|08...").fullmatch
_only_reads = re.compile(r"\s*(SELECT|SHOW)\b").match


def is_unavailable(error: BaseException | None) -> bool:
    """Whether the database is unavailable at the moment, so that a retry makes sense."""
    return isinstance(error, OperationalError | InterfaceError) or _is_stale(error)


def _is_stale(error: BaseException | None) -> bool:
    cause = error and error.__cause__
    if not isinstance(cause, psycopg.Error):
        return False
    if cause.sqlstate is None:  # raised by the driver: the session is closed or broken
        return isinstance(cause, psycopg.OperationalError | psycopg.InterfaceError)
    return _is_refusal(cause) or bool(_is_end(cause.sqlstate))


def _is_refusal(error: psycopg.Error) -> bool:
    """Whether the server refused to execute the statement."""
    return error.sqlstate == READ_ONLY or _has_stale_plan(error)


def _has_stale_plan(error: psycopg.Error) -> bool:
    # The code alone is ambiguous, and the message is translated.
    return error.sqlstate == "0A000" and error.diag.source_function == "RevalidateCachedQuery"


def _repeat_if_stale(
    execute: Callable[..., Any],
    sql: Any,
    parameters: Any,
    many: Any,
    context: dict[str, Any],
) -> Any:
    """Execute a statement; if the session is stale, execute it once more in a new one.

    Not if the first attempt may have written something, and not in a transaction, whose earlier
    statements were lost with the session.
    """
    database = context["connection"]
    is_alone = database.autocommit and not many
    try:
        return _execute(execute, sql, parameters, many, context)
    except Error as error:
        cause: Any = error.__cause__
        if not (is_alone and _is_stale(error) and _wrote_nothing(sql, cause)):
            raise
    database.ensure_connection()
    if _has_stale_plan(cause):
        # Through PgBouncer, the new session would use the same prepared statement.
        database.connection.prepare_threshold = None
    old = context["cursor"].cursor
    context["cursor"].cursor = new = database.create_cursor(getattr(old, "name", None))
    new.format = old.format
    return _execute(execute, sql, parameters, many, context)


def _execute(execute: Callable[..., Any], *arguments: Any) -> Any:
    """Execute a statement, and close the session if it is stale."""
    try:
        return execute(*arguments)
    except Error as error:
        if _is_stale(error):
            arguments[-1]["connection"].close()
        raise


def _wrote_nothing(sql: Any, error: psycopg.Error) -> bool:
    """Whether a statement that failed in a stale session certainly changed nothing."""
    return _is_refusal(error) or _only_reads(str(sql)) is not None


# SQLite databases of threads that ended, until another thread opens one. Python crashes if a thread
# of Granian closes one while it ends: the functions that Django adds to SQLite are released in a
# nested PyGILState_Ensure, which destroys the state of the thread that is still in use.
_orphans: list[BaseDatabaseWrapper] = []


class _Sessions:
    """The open sessions of a thread, closed when it ends: Granian ends idle threads silently."""

    def __init__(self) -> None:
        self.databases: list[BaseDatabaseWrapper] = []

    def __del__(self) -> None:
        # When Python itself ends, the operating system closes them, and Django is half gone.
        if sys.is_finalizing():
            return
        for database in self.databases:
            if database.vendor == "sqlite":
                _orphans.append(database)
            else:
                database.close()


class _Thread(threading.local):
    def __init__(self) -> None:
        self.sessions = _Sessions()


_thread = _Thread()


def _close_orphans() -> None:
    with suppress(IndexError):
        while True:
            database = _orphans.pop()
            database.inc_thread_sharing()
            database.close()


def _watch(connection: BaseDatabaseWrapper, **_: Any) -> None:
    _close_orphans()
    wrappers, databases = connection.execute_wrappers, _thread.sessions.databases
    if connection.vendor == "postgresql" and _repeat_if_stale not in wrappers:
        wrappers.append(_repeat_if_stale)
    if connection not in databases:
        databases.append(connection)


connection_created.connect(_watch)
