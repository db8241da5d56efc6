"""Empty the tables between tests quickly, although the audit's triggers forbid deletes."""

from collections.abc import Sequence
from typing import Any

import django.db.backends.postgresql.base
import django.db.backends.sqlite3.base
from django.core.management.commands import flush
from django.db import connection

TRIGGER = "auditlog_no_delete"
DISABLE = "ALTER TABLE auditlog_logentry DISABLE TRIGGER USER"
# The migrations fill these tables. Django would empty them and fill them again.
KEPT = {"auth_permission", "django_content_type"}


def flush_without_triggers() -> None:
    """Disable the triggers during a flush, and do not fill the tables after it."""
    sqlite = django.db.backends.sqlite3.base.DatabaseOperations
    sqlite_flush = sqlite.sql_flush

    def sqlite_sql_flush(self: Any, style: Any, tables: Sequence[str], **kwargs: Any) -> list[str]:
        with connection.cursor() as cursor:
            cursor.execute("SELECT sql FROM sqlite_master WHERE name = %s", [TRIGGER])
            found = cursor.fetchone()
        statements: list[str] = sqlite_flush(self, style, others(tables), **kwargs)
        return [f"DROP TRIGGER {TRIGGER}", *statements, found[0]] if found else statements

    def postgresql_sql_flush(
        self: Any, style: Any, tables: Sequence[str], **kwargs: Any
    ) -> list[str]:
        """Use DELETE, because TRUNCATE creates new files for every table and index."""
        statements = [f"DELETE FROM {self.quote_name(table)}" for table in others(tables)]
        return [DISABLE, *statements, DISABLE.replace("DISABLE", "ENABLE")]

    flush.emit_post_migrate_signal = lambda *_: None  # type: ignore[attr-defined]
    sqlite.sql_flush = sqlite_sql_flush
    django.db.backends.postgresql.base.DatabaseOperations.sql_flush = postgresql_sql_flush


def others(tables: Sequence[str]) -> list[str]:
    return [table for table in tables if table not in KEPT]
