"""The database refuses to change or delete audit records, by any means."""

import pytest
from auditlog.models import LogEntry
from django.contrib.auth.models import User
from django.contrib.contenttypes.models import ContentType
from django.core.management import call_command
from django.db import DatabaseError, transaction
from django.db import connection as database

from stripe_connections import services
from stripe_connections.audit.records import Actor, Source
from stripe_connections.models import StripeConnection

ON_SQLITE = database.vendor == "sqlite"


@pytest.fixture
def record(connection, make_user) -> LogEntry:
    services.update_connection(
        workspace=connection.workspace,
        biz_id=connection.biz_id,
        changes={"connection_name": "New"},
        actor=Actor(make_user("somebody"), Source.API, "request-1"),
    )
    return LogEntry.objects.get()


@pytest.fixture
def untouched(record):
    """Assert, after the test, that the record is unchanged."""
    before = LogEntry.objects.values().get()
    yield
    assert LogEntry.objects.values().get() == before


def execute(statement, *params):
    with database.cursor() as cursor:
        cursor.execute(statement, params)


def refused():
    return pytest.raises(DatabaseError, match="append-only")


# A different value for each type of column.
OTHER = {
    "AutoField": "4711",
    "BigIntegerField": "4711",
    "DateTimeField": "'2000-01-01'",
    "ForeignKey": "4711",
    "GenericIPAddressField": "'192.0.2.1'",
    "JSONField": "'[]'",
    "PositiveIntegerField": "4711",
    "PositiveSmallIntegerField": "7",
}
FIELDS = [field for field in LogEntry._meta.concrete_fields if field.name != "actor"]


@pytest.mark.usefixtures("untouched")
def test_raw_update_of_any_column_is_refused(record):
    def update(field):
        value = OTHER.get(field.get_internal_type(), "'other'")
        with refused(), transaction.atomic():
            execute(f"UPDATE auditlog_logentry SET {field.column} = {value}")
        return field.name

    assert [update(field) for field in FIELDS] == [field.name for field in FIELDS]


@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize("assignment", ["actor_id = {other}", "actor_id = NULL, cid = 'x'"])
def test_actor_of_a_record_cannot_be_changed(record, make_user, assignment):
    other = make_user("other").pk
    with refused(), transaction.atomic():
        execute(f"UPDATE auditlog_logentry SET {assignment.format(other=other)}")


@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize("values", [{"cid": "other"}, {"changes": {}}, {"additional_data": None}])
def test_queryset_update_is_refused(record, values):
    with refused(), transaction.atomic():
        LogEntry.objects.update(**values)


@pytest.mark.usefixtures("untouched")
def test_save_is_refused(record):
    record.changes = {}
    with refused(), transaction.atomic():
        record.save()


@pytest.mark.usefixtures("untouched")
def test_delete_of_a_record_is_refused(record):
    with refused(), transaction.atomic():
        record.delete()


@pytest.mark.usefixtures("untouched")
def test_queryset_delete_is_refused(record):
    with refused(), transaction.atomic():
        LogEntry.objects.all().delete()


@pytest.mark.usefixtures("untouched")
def test_raw_delete_is_refused(record):
    with refused(), transaction.atomic():
        execute("DELETE FROM auditlog_logentry")


@pytest.mark.usefixtures("untouched")
@pytest.mark.skipif(ON_SQLITE, reason="SQLite has no TRUNCATE")
@pytest.mark.parametrize("statement", ["TRUNCATE auditlog_logentry", "TRUNCATE auth_user CASCADE"])
def test_truncate_is_refused(record, statement):
    execute("SET CONSTRAINTS ALL IMMEDIATE")
    with refused(), transaction.atomic():
        execute(statement)


@pytest.mark.usefixtures("untouched")
@pytest.mark.skipif(not ON_SQLITE, reason="PostgreSQL has no REPLACE")
def test_replace_is_refused(record):
    names = ", ".join(field.column for field in LogEntry._meta.concrete_fields)
    with refused(), transaction.atomic():
        execute(f"REPLACE INTO auditlog_logentry ({names}) SELECT {names} FROM auditlog_logentry")


@pytest.mark.usefixtures("untouched")
def test_upsert_is_refused(record):
    with refused(), transaction.atomic():
        LogEntry.objects.bulk_create(
            [record], update_conflicts=True, unique_fields=["id"], update_fields=["cid"]
        )


@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize("options", [{}, {"before_date": "2100-01-01"}])
def test_auditlogflush_is_refused(record, options):
    arguments = [f"--before-date={options['before_date']}"] if options else []
    with refused(), transaction.atomic():
        call_command("auditlogflush", "--yes", *arguments)


@pytest.mark.usefixtures("untouched")
@pytest.mark.skipif(ON_SQLITE, reason="auditlogflush does not truncate on SQLite")
def test_auditlogflush_with_truncate_is_refused(record):
    execute("SET CONSTRAINTS ALL IMMEDIATE")
    with refused(), transaction.atomic():
        call_command("auditlogflush", "--yes", "--truncate")


@pytest.mark.usefixtures("untouched")
def test_content_type_with_records_is_not_deleted(record):
    with refused(), transaction.atomic():
        ContentType.objects.get_for_model(StripeConnection).delete()


@pytest.mark.usefixtures("untouched")
def test_deleted_connection_keeps_its_records(record, connection):
    connection.delete()


def test_deleted_user_keeps_the_records_and_the_name(record):
    before = LogEntry.objects.values().get()
    User.objects.get(username="somebody").delete()

    assert LogEntry.objects.values().get() == before | {"actor_id": None}
    assert record.additional_data["username"] == "somebody"


@pytest.mark.django_db(transaction=True)
def test_triggers_are_back_after_the_migration_is_reversed_and_repeated(record):
    call_command("migrate", "stripe_connections", "0001", verbosity=0)
    LogEntry.objects.update(cid="changed without triggers")
    call_command("migrate", "stripe_connections", verbosity=0)

    with refused(), transaction.atomic():
        LogEntry.objects.update(cid="other")
    with refused(), transaction.atomic():
        LogEntry.objects.all().delete()


TRIGGERS = (
    "SELECT name FROM sqlite_master WHERE type = 'trigger' AND name LIKE 'auditlog%'"
    if ON_SQLITE
    else "SELECT tgname FROM pg_trigger WHERE tgname LIKE 'auditlog%' AND tgenabled = 'O'"
)
OWN = {"auditlog_no_new_actor", "auditlog_no_replace"} if ON_SQLITE else {"auditlog_no_truncate"}


@pytest.mark.parametrize("time", ["before a flush", "after a flush"])
@pytest.mark.django_db(transaction=True)
def test_flush_between_tests_keeps_the_triggers(time):
    with database.cursor() as cursor:
        cursor.execute(TRIGGERS)
        names = {name for (name,) in cursor.fetchall()}

    assert names == OWN | {"auditlog_no_update", "auditlog_no_delete"}
