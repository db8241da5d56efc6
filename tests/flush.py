"""Empty the tables between tests, though the audit's triggers forbid it."""

from typing import Any

import django.db.backends.postgresql.base
import django.db.backends.sqlite3.base
from django.db import connection

TRIGGER = "auditlog_no_delete"
DISABLE = "ALTER TABLE auditlog_logentry DISABLE TRIGGER USER"


def flush_without_triggers() -> None:
    """Take the triggers away for the time of a flush."""
    sqlite = django.db.backends.sqlite3.base.DatabaseOperations
    postgresql = django.db.backends.postgresql.base.DatabaseOperations
    sqlite_flush, postgresql_flush = sqlite.sql_flush, postgresql.sql_flush

    def sqlite_sql_flush(self: Any, *args: Any, **kwargs: Any) -> list[str]:
        with connection.cursor() as cursor:
            cursor.execute("SELECT sql FROM sqlite_master WHERE name = %s", [TRIGGER])
            found = cursor.fetchone()
        statements: list[str] = sqlite_flush(self, *args, **kwargs)
        return [f"DROP TRIGGER {TRIGGER}", *statements, found[0]] if found else statements

    def postgresql_sql_flush(self: Any, *args: Any, **kwargs: Any) -> list[str]:
        statements: list[str] = postgresql_flush(self, *args, **kwargs)
        return [DISABLE, *statements, DISABLE.replace("DISABLE", "ENABLE")]

    sqlite.sql_flush = sqlite_sql_flush
    postgresql.sql_flush = postgresql_sql_flush
