"""Let nobody change or remove an audit record, by whatever way they reach the database."""

from typing import Any

from django.db import migrations

# Deleting a user may take the reference to the user off a record, which keeps the name besides.
POSTGRESQL = (
    """
    CREATE FUNCTION auditlog_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        RAISE EXCEPTION 'audit records are append-only' USING ERRCODE = 'integrity_constraint_violation';
    END $$
    """,
    """
    CREATE TRIGGER auditlog_no_update BEFORE UPDATE ON auditlog_logentry FOR EACH ROW
    WHEN (NEW.actor_id IS NOT NULL OR (to_jsonb(NEW) - 'actor_id') <> (to_jsonb(OLD) - 'actor_id'))
    EXECUTE FUNCTION auditlog_refuse_change()
    """,
    """
    CREATE TRIGGER auditlog_no_delete BEFORE DELETE ON auditlog_logentry FOR EACH ROW
    EXECUTE FUNCTION auditlog_refuse_change()
    """,
    # TRUNCATE, also that of `auditlogflush --truncate`, fires no trigger of single rows.
    """
    CREATE TRIGGER auditlog_no_truncate BEFORE TRUNCATE ON auditlog_logentry FOR EACH STATEMENT
    EXECUTE FUNCTION auditlog_refuse_change()
    """,
)
POSTGRESQL_REVERSE = (
    "DROP TRIGGER auditlog_no_update ON auditlog_logentry",
    "DROP TRIGGER auditlog_no_delete ON auditlog_logentry",
    "DROP TRIGGER auditlog_no_truncate ON auditlog_logentry",
    "DROP FUNCTION auditlog_refuse_change()",
)
SQLITE = (
    """
    CREATE TRIGGER auditlog_no_update BEFORE UPDATE OF
        id, content_type_id, object_pk, object_id, object_repr, serialized_data, action,
        changes_text, changes, cid, remote_addr, remote_port, timestamp, additional_data,
        actor_email
    ON auditlog_logentry
    BEGIN SELECT RAISE(ABORT, 'audit records are append-only'); END
    """,
    """
    CREATE TRIGGER auditlog_no_new_actor BEFORE UPDATE OF actor_id ON auditlog_logentry
    WHEN NEW.actor_id IS NOT NULL
    BEGIN SELECT RAISE(ABORT, 'audit records are append-only'); END
    """,
    """
    CREATE TRIGGER auditlog_no_delete BEFORE DELETE ON auditlog_logentry
    BEGIN SELECT RAISE(ABORT, 'audit records are append-only'); END
    """,
    # INSERT OR REPLACE removes the old row without a DELETE that a trigger would see.
    """
    CREATE TRIGGER auditlog_no_replace BEFORE INSERT ON auditlog_logentry
    WHEN EXISTS (SELECT 1 FROM auditlog_logentry WHERE id = NEW.id)
    BEGIN SELECT RAISE(ABORT, 'audit records are append-only'); END
    """,
)
SQLITE_REVERSE = (
    "DROP TRIGGER auditlog_no_update",
    "DROP TRIGGER auditlog_no_new_actor",
    "DROP TRIGGER auditlog_no_delete",
    "DROP TRIGGER auditlog_no_replace",
)


def install(apps: Any, schema_editor: Any) -> None:
    """Create the triggers."""
    _run(schema_editor, POSTGRESQL, SQLITE)


def uninstall(apps: Any, schema_editor: Any) -> None:
    """Drop the triggers."""
    _run(schema_editor, POSTGRESQL_REVERSE, SQLITE_REVERSE)


def _run(schema_editor: Any, postgresql: tuple[str, ...], sqlite: tuple[str, ...]) -> None:
    vendor = schema_editor.connection.vendor
    for statement in {"postgresql": postgresql, "sqlite": sqlite}[vendor]:
        schema_editor.execute(statement, params=None)


class Migration(migrations.Migration):
    dependencies = [
        ("stripe_connections", "0001_initial"),
        ("auditlog", "0017_add_actor_email"),
    ]
    operations = [migrations.RunPython(install, uninstall)]
