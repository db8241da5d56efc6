"""Empty the tables between tests on SQLite, where the audit's triggers forbid DELETE."""

from typing import Any

import django.db.backends.sqlite3.base
from django.db import connection

TRIGGER = "auditlog_no_delete"


def sqlite_flush_without_triggers() -> None:
    """Take the trigger away for the time of a flush; PostgreSQL truncates and needs none of it."""
    operations = django.db.backends.sqlite3.base.DatabaseOperations
    original = operations.sql_flush

    def sql_flush(self: Any, *args: Any, **kwargs: Any) -> list[str]:
        with connection.cursor() as cursor:
            cursor.execute("SELECT sql FROM sqlite_master WHERE name = %s", [TRIGGER])
            found = cursor.fetchone()
        statements: list[str] = original(self, *args, **kwargs)
        return [f"DROP TRIGGER {TRIGGER}", *statements, found[0]] if found else statements

    operations.sql_flush = sql_flush
